"""What we ask of the host: adapters that tell us of its subscriptions and payments, in facts of ours.

An adapter reads the host's own tables or billing service. It is asked for events since a moment; each event carries
the complete facts as they were then, so a later one replaces an earlier one and any may be told again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionFacts:
    """One subscription as it stands. `user` is the primary key of the host's user; moments are aware.

    `status` is a value of `SubscriptionStatus`; the period is half-open.
    """

    ref: str
    user: Any
    status: str
    tier: str = ""
    plan_code: str = ""
    price_ref: str = ""
    period_starts_at: datetime | None = None
    period_ends_at: datetime | None = None
    anchor_at: datetime | None = None
    trial_ends_at: datetime | None = None
    cancel_at: datetime | None = None
    currency: str = ""
    region: str = ""
    time_zone: str = ""
    quantity: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentFacts:
    """One payment as it stands. `status` is a value of `PaymentStatus`; amounts are in `currency`."""

    ref: str
    user: Any
    status: str
    amount: Decimal
    currency: str
    subscription_ref: str = ""
    refunded_amount: Decimal = Decimal(0)
    paid_at: datetime | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class SubscriptionEvent:
    """The facts as they became at a moment."""

    occurred_at: datetime
    facts: SubscriptionFacts


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """The facts as they became at a moment."""

    occurred_at: datetime
    facts: PaymentFacts


class SubscriptionAdapter(Protocol):
    def events(self, *, since: datetime | None) -> Iterator[SubscriptionEvent]:
        """What changed at or after `since` (all there is, for None), oldest first where that is cheap."""
        ...

    def current_refs(self) -> Iterator[str]:
        """The references that exist now: a full resync marks the others as gone."""
        ...


class PaymentAdapter(Protocol):
    def events(self, *, since: datetime | None) -> Iterator[PaymentEvent]:
        """What changed at or after `since` (all there is, for None), oldest first where that is cheap."""
        ...

    def current_refs(self) -> Iterator[str]:
        """The references that exist now: a full resync marks the others as gone."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensNotice:
    """What to tell a user about a deed on the user's tokens.

    `user` is the host's user; `tokens` is what came in or, below zero, went out; `available` is what there is now;
    `expires_at` is the end of what came in, if it has one.
    """

    user: Any
    tokens: int
    available: int
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningNotice:
    """A warning: what to tell a user of the user's own tokens, or an operator of the accounts of others.

    `user` is the host's user; `kind` is a value of `NotificationKind`; `title` and `text` say it in the language of the
    user, and `facts` are the figures behind them, for words of your own. `text` may be empty.
    """

    user: Any
    kind: str
    title: str
    text: str
    facts: dict[str, Any]
    is_for_operator: bool


class NotificationAdapter(Protocol):
    """How users hear from us. Asked in a worker, at least once for each notice.

    An adapter may have a second method, `warn(notice: WarningNotice) -> bool`, under the same terms; what it raises
    is recorded, and tried again later. For one without it warnings go out by mail, as without an adapter.
    """

    def notify(self, notice: TokensNotice) -> bool:
        """Tell the user; False where there is no way to. What it raises is recorded, and the other users are told."""
        ...
