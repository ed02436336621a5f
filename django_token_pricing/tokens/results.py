"""What the verbs answer: frozen, complete, and equal to their replay but for `replayed`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple


class LotShare(NamedTuple):
    """What one lot gave or got: equal to the plain pair (allocation id, tokens)."""

    allocation: int
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """`balance_after` is what the owner has available after the deed; `booked_at` the ledger's moment of it."""

    account: int
    amount: int
    balance_after: int
    booked_at: datetime
    replayed: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant(Result):
    """A lot was granted; `allocation` is its id."""

    allocation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumption(Result):
    """A use was booked; `lots` in the order in which they paid."""

    lots: list[LotShare] = field(hash=False)
    usage: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(Result):
    """Tokens were reserved until `expires_at`."""

    key: str
    hold: int
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(Result):
    """A hold was given back: `amount` is what it still reserved, 0 when its time was over."""

    key: str
    hold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund(Result):
    """Tokens went back to the lots that had paid; `lapsed` of them had expired meanwhile and are gone again."""

    lots: list[LotShare] = field(hash=False)
    lapsed: int
    usage: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Subtraction(Result):
    """Tokens were taken out, in burn order."""

    lots: list[LotShare] = field(hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkGrant:
    """A batch of lots: how many accounts and tokens, how many rows were replays, and the audit event of it all."""

    granted: int
    tokens: int
    replayed: int
    event: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What went from one lot into a new one."""

    parent: int
    allocation: int
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkRollover:
    """What a batch carried over, and its audit event."""

    tokens: int
    lots: list[Carried] = field(hash=False)
    event: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkWithdrawal:
    """What was taken out of each group of lots, in the order in which they were given, and the audit event."""

    tokens: int
    taken: list[int] = field(hash=False)
    event: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """What a sweep booked."""

    lots: int
    tokens: int
    holds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What an owner has, in tokens.

    available: own live lots less what open holds reserve on them. held: own open, unexpired holds. total: available
    and held, and lots that have not started. spendable: available and what the pool would give now, within the
    member's cap. next_expiry: the soonest end of a live lot.
    """

    available: int
    held: int
    total: int
    spendable: int
    next_expiry: datetime | None
