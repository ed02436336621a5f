"""What is left of many lots, taken out at once: carried over into new lots, or withdrawn.

What is left counts as of the moment at which a lot ends, however much later this is asked. An expired lot gives nobody
anything more, so all that can move it after its end are the holds that were open then: what they had reserved belongs
to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

from django.db import models, transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from django_token_pricing import audit, signals
from django_token_pricing.choices import EntryKind, Source
from django_token_pricing.exceptions import InvalidAmount, InvalidMoment
from django_token_pricing.lib.steps import steps
from django_token_pricing.models import LedgerEntry, TokenAccount, TokenAllocation, TokenHoldLot, batches
from django_token_pricing.tokens import arguments, booking
from django_token_pricing.tokens.results import BulkRollover, BulkWithdrawal, Carried

LOT = ("id", "account_id", "amount", "remaining", "priority", "booked_at", "paid_amount", "paid_currency")
ENTRY = ("account_id", "allocation_id", "kind", "amount", "lot_balance", "balance_after", "booked_at", "event_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Carry:
    """Lots that end together at `ended_at`, and the terms on which what is left of them goes on.

    `percent` of what is left of each, rounded down, `times` over; together at most `most`, the lots named first first.
    """

    lots: Sequence[int]
    ended_at: datetime
    starts_at: datetime
    expires_at: datetime | None
    percent: int = 100
    times: int = 1
    most: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """Lots, and how much of what is left of them is taken out at most, the lots named first first; None for all."""

    lots: Sequence[int]
    most: int | None = None


def rollover_many(carries: Iterable[Carry], *, reason: str = "", actor: models.Model | None = None) -> BulkRollover:
    """Move what is left of many lots into new ones, as `rollover` does, in one transaction with one audit event.

    Lots that have expired can be carried until a sweep has booked them. What open holds reserve stays. Each new lot
    knows its old one as its parent and takes along its share of what was paid. Lots of which nothing is to be carried
    stay as they are. Raises InvalidAmount, InvalidMoment, UnknownOwner.
    """
    given = list(carries)
    for carry in given:
        arguments.moment("ended_at", carry.ended_at)
        if carry.expires_at is not None and carry.expires_at <= carry.starts_at:
            raise InvalidMoment(
                name="expires_at", value=carry.expires_at, detail=_("the lot starts only then or later.")
            )
        if not 0 < carry.percent <= 100 or carry.times < 1:
            raise InvalidAmount(amount=carry.percent, detail=_("a share is from 1 to 100 per cent."))
    using = booking.database()
    with booking.writing(using):
        books = _Books.of([lot for carry in given for lot in carry.lots], using)
        ends = {lot: carry.ended_at for carry in given for lot in carry.lots}
        rests = books.rests(ends)
        moves = [(lot, amount, carry) for carry in given for lot, amount in _parts(carry, rests)]
        if not moves:
            return BulkRollover(tokens=0, lots=[], event=None)
        tokens = sum(amount for _lot, amount, _carry in moves)
        changes = {"rolled_over": (0, tokens)}
        event = audit.record(
            "tokens.rollover_many", actor=actor, reason=reason, changes=changes, count=len(moves), using=using
        )
        carried = books.carry(moves, event.pk)
        books.write(event.pk)
    return BulkRollover(tokens=tokens, lots=carried, event=event.pk)


def withdraw_many(withdrawals: Sequence[Withdraw], *, reason: str, actor: models.Model | None = None) -> BulkWithdrawal:
    """Take out what is left of many lots, in one transaction with one audit event; what open holds reserve stays.

    Answers how much each gave: what is spent already cannot be taken. Raises InvalidInput, UnknownOwner.
    """
    arguments.reason(reason)
    using = booking.database()
    with booking.writing(using):
        books = _Books.of([lot for given in withdrawals for lot in given.lots], using)
        rests = books.rests({})
        taken = [list(_upto(given.lots, rests, given.most)) for given in withdrawals]
        amounts = [sum(amount for _lot, amount in parts) for parts in taken]
        if not any(amounts):
            return BulkWithdrawal(tokens=0, taken=amounts, event=None)
        count = sum(len(parts) for parts in taken)
        changes = {"taken": (0, sum(amounts))}
        event = audit.record(
            "tokens.withdraw_many", actor=actor, reason=reason, changes=changes, count=count, using=using
        )
        for lot, amount in (part for parts in taken for part in parts):
            books.take(lot, amount, EntryKind.SUBTRACT)
        books.write(event.pk)
        result = BulkWithdrawal(tokens=sum(amounts), taken=amounts, event=event.pk)
        tell = partial(signals.tokens_subtracted.send_robust, sender=TokenAccount, result=result)
        transaction.on_commit(tell, using=using)
    return result


def _parts(carry: Carry, rests: dict[int, int]) -> Iterable[tuple[int, int]]:
    wanted = {}
    for lot in carry.lots:
        rest = rests.get(lot, 0)
        for _time in range(carry.times):
            rest = rest * carry.percent // 100
        wanted[lot] = rest
    return _upto(carry.lots, wanted, carry.most)


def _upto(lots: Sequence[int], rests: dict[int, int], most: int | None) -> Iterable[tuple[int, int]]:
    for lot in lots:
        amount = rests.get(lot, 0) if most is None else min(rests.get(lot, 0), most)
        if amount > 0:
            most = None if most is None else most - amount
            yield lot, amount


@dataclass(slots=True)
class _Books:
    """Lots and their accounts under the accounts' locks, and what is to be written of them."""

    using: str
    lots: dict[int, dict[str, Any]]
    accounts: dict[int, TokenAccount]
    moments: dict[int, datetime]
    now: datetime
    entries: list[tuple[Any, ...]] = field(default_factory=list)

    @classmethod
    def of(cls, pks: Sequence[int], using: str) -> _Books:
        lots = TokenAllocation.objects.using(using)
        whose = {account for step in steps(pks) for account in _column(lots.filter(pk__in=step), "account_id")}
        accounts = booking.lock_accounts(whose, using)
        # Read under the locks, as every verb does: what was read before may have been spent meanwhile.
        rows = {row["id"]: row for step in steps(pks) for row in lots.filter(pk__in=step).values(*LOT)}
        now = booking.clock(using)
        moments = {
            pk: now if account.booked_at is None else max(now, account.booked_at + booking.TICK)
            for pk, account in accounts.items()
        }
        return cls(using, rows, accounts, moments, now)

    def rests(self, ended: dict[int, datetime]) -> dict[int, int]:
        """What is left of each lot and reserved by no hold: as of its end, for those that have ended."""
        ends = {pk: min(ended.get(pk, self.now), self.now) for pk in self.lots}
        held: dict[int, int] = {}
        earliest = min(ends.values(), default=self.now)
        closed = Q(closed_at=None) | Q(closed_at__gt=earliest)
        for step in steps(sorted(self.accounts)):
            lines = TokenHoldLot.objects.using(self.using).filter(closed, account__in=step, expires_at__gt=earliest)
            names = ("allocation_id", "amount", "expires_at", "closed_at")
            for lot, amount, expires_at, closed_at in lines.values_list(*names):
                end = ends.get(lot)
                if end is not None and expires_at > end and (closed_at is None or closed_at > end):
                    held[lot] = held.get(lot, 0) + amount
        rests = {}
        for pk, row in self.lots.items():
            rest = row["remaining"]
            if pk in held:
                rest = min(rest, self._remaining(row, ends[pk]) - held[pk])
            rests[pk] = max(rest, 0)
        return rests

    def _remaining(self, row: dict[str, Any], at: datetime) -> int:
        """What was left at that moment; what is left now of a lot that came into the books later."""
        if row["booked_at"] > at:
            return int(row["remaining"])
        entries = LedgerEntry.objects.using(self.using).filter(allocation=row["id"], booked_at__lte=at)
        found = entries.order_by("-booked_at").values_list("lot_balance", flat=True).first()
        return int(row["remaining"]) if found is None else found

    def take(self, lot: int, amount: int, kind: EntryKind) -> None:
        row = self.lots[lot]
        row["remaining"] -= amount
        row["moved"] = True
        self._enter(row["account_id"], lot, kind, -amount, row["remaining"])

    def carry(self, moves: Sequence[tuple[int, int, Carry]], event: int) -> list[Carried]:
        """Take what is to be carried out of the old lots, and make the new ones."""
        rows = [self._new_lot(old, amount, carry, event) for old, amount, carry in moves]
        made = "account_id source amount remaining is_open priority starts_at expires_at booked_at paid_amount"
        columns = [*made.split(), "paid_currency", "parent_id", "key", "event_id"]
        numbers = batches.insert_numbered(TokenAllocation, columns, rows, self.using)
        for number, (old, amount, _carry) in zip(numbers, moves, strict=True):
            self.take(old, amount, EntryKind.ROLLOVER_OUT)
            self._enter(self.lots[old]["account_id"], number, EntryKind.ROLLOVER_IN, amount, amount)
        return [
            Carried(parent=old, allocation=number, amount=amount)
            for number, (old, amount, _carry) in zip(numbers, moves, strict=True)
        ]

    def _new_lot(self, old: int, amount: int, carry: Carry, event: int) -> tuple[Any, ...]:
        row = self.lots[old]
        paid = row["paid_amount"]
        if paid is not None:
            paid = (paid * amount / row["amount"]).quantize(Decimal("0.0001"))
        terms = (row["priority"], carry.starts_at, carry.expires_at, self.moments[row["account_id"]], paid)
        made = (row["account_id"], Source.ROLLOVER.value, amount, amount, True)
        return (*made, *terms, row["paid_currency"], old, "", event)

    def write(self, event: int) -> None:
        """Entries, lots and accounts as they are now."""
        columns = [
            "account_id",
            "allocation_id",
            "kind",
            "amount",
            "lot_balance",
            "balance_after",
            "booked_at",
            "event_id",
        ]
        batches.insert(LedgerEntry, columns, [(*entry, event) for entry in self.entries], self.using)
        moved = [(pk, row["remaining"], row["remaining"] > 0) for pk, row in self.lots.items() if row.get("moved")]
        batches.update(TokenAllocation, ["id", "remaining", "is_open"], sorted(moved), self.using)
        touched = sorted({entry[0] for entry in self.entries})
        rows = [(pk, self.accounts[pk].balance, self.moments[pk]) for pk in touched]
        batches.update(TokenAccount, ["id", "balance", "booked_at"], rows, self.using)

    def _enter(self, account: int, lot: int, kind: EntryKind, amount: int, rest: int) -> None:
        of = self.accounts[account]
        of.balance += amount
        self.entries.append((account, lot, kind.value, amount, rest, of.balance, self.moments[account]))


def _column(rows: Any, name: str) -> list[int]:
    return list(rows.values_list(name, flat=True))
