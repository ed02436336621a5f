"""Corrections of many accounts at once: subtract, set, let expire. What one account cannot give is its own problem.

In steps of a few statements on every database: these deeds are rarer than grants, and each account's lots pay in their
own order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from django.db import models, transaction
from django.db.models import Sum

from django_token_pricing import audit, signals
from django_token_pricing.choices import EntryKind, Source, Verb
from django_token_pricing.exceptions import (
    IdempotencyConflict,
    InsufficientTokens,
    TokenPricingError,
    TokensExpired,
    TokensHeld,
    TokensMoved,
    TokensSpent,
    UnknownOwner,
)
from django_token_pricing.lib.steps import STEP, steps
from django_token_pricing.models import AuditEvent, IdempotencyKey, LedgerEntry, TokenAccount, TokenAllocation
from django_token_pricing.tokens import arguments, booking
from django_token_pricing.tokens.booking import TICK, Lot, Move
from django_token_pricing.tokens.grants import Terms

# What takes tokens out of a lot that nobody spent.
MOVED = (EntryKind.SUBTRACT, EntryKind.ROLLOVER_OUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkCorrection:
    """Accounts that changed, that were as wanted or done before, and that could not be done, by their number."""

    changed: int
    unchanged: int
    granted: int
    taken: int
    problems: dict[int, TokenPricingError] = field(hash=False)
    event: int | None


def subtract_many(
    accounts: Iterable[TokenAccount | int],
    amount: int,
    *,
    at_most: bool = False,
    reason: str,
    actor: models.Model | None,
    key: str | None = None,
) -> BulkCorrection:
    """Take tokens out of many accounts, as `subtract` does, in one transaction with one audit event.

    An account with less is left as it is and named in `problems`; with `at_most` it gives what it has. `key` makes each
    account's part safe to repeat. Raises InvalidAmount, InvalidKey, InvalidInput.
    """
    wanted = arguments.amount(amount)
    return _correct(Verb.SUBTRACT, accounts, wanted, partial(_less, wanted, at_most), None, _deed(reason, actor), key)


def set_balance_many(
    accounts: Iterable[TokenAccount | int],
    amount: int,
    *,
    reason: str,
    actor: models.Model | None,
    key: str | None = None,
) -> BulkCorrection:
    """Bring what each of many accounts has available to `amount`, as `set_balance` does; with 0 nothing is left.

    Raises InvalidAmount, InvalidKey, InvalidInput.
    """
    wanted = arguments.amount(amount, least=0)
    return _correct(Verb.SET_BALANCE, accounts, wanted, partial(_to, wanted), None, _deed(reason, actor), key)


def expire_many(
    accounts: Iterable[TokenAccount | int],
    *,
    source: Source | str | None = None,
    reason: str,
    actor: models.Model | None,
    key: str | None = None,
) -> BulkCorrection:
    """Let what many accounts have available lapse now, of lots of one source or of all. What is held stays.

    Raises InvalidUsage, InvalidKey, InvalidInput.
    """
    of = None if source is None else arguments.source(source)
    return _correct(Verb.EXPIRE, accounts, None, _all, of, _deed(reason, actor), key)


def correct_for(
    event: AuditEvent, verb: Verb, accounts: Iterable[int], amount: int | None, *, at_most: bool, source: str | None
) -> BulkCorrection:
    """The same as a part of a deed that has its audit event already."""
    wanted = amount or 0
    decide: dict[Verb, Callable[[int], int]] = {
        Verb.SUBTRACT: partial(_less, wanted, at_most),
        Verb.SET_BALANCE: partial(_to, wanted),
        Verb.EXPIRE: _all,
    }
    return _correct(verb, accounts, amount, decide[verb], source, lambda *_: event, None)


def void_for(event: AuditEvent, lots: Sequence[int]) -> VoidedLots:
    """Take all that is left of each of these lots, started or not, as a part of a deed that has its event already.

    What open holds reserve stays. A lot of which something was not there any more is named in `rests`.
    """
    using = booking.database()
    with booking.writing(using):
        found = [
            row
            for step in steps(sorted(set(lots)))
            for row in TokenAllocation.objects.using(using).filter(pk__in=step).values_list("account", "pk")
        ]
        locked = booking.lock_accounts({account for account, _lot in found}, using)
        now = booking.clock(using)
        moments = {pk: max(now, of.booked_at + TICK) if of.booked_at else now for pk, of in locked.items()}
        plans: dict[int, _Plan] = {}
        voided = VoidedLots(event=event.pk)
        for step in steps([lot for _account, lot in sorted(found)]):
            _plan_voiding(step, locked, moments, plans, voided, using)
        changing = [plan for plan in plans.values() if plan.change]
        _book(changing, EntryKind.SUBTRACT, event, using)
        if changing:
            result = BulkCorrection(
                changed=len(changing), unchanged=0, granted=0, taken=voided.tokens, problems={}, event=event.pk
            )
            tell = partial(signals.tokens_subtracted.send_robust, sender=TokenAccount, result=result)
            transaction.on_commit(tell, using=using)
    return voided


@dataclass(slots=True, kw_only=True)
class VoidedLots:
    """Lots of which something was taken, of which nothing was left to take, and why that was not all of the lot."""

    event: int
    changed: int = 0
    unchanged: int = 0
    tokens: int = 0
    rests: dict[int, list[TokenPricingError]] = field(default_factory=dict)


def _plan_voiding(
    step: Sequence[int],
    locked: dict[int, TokenAccount],
    moments: dict[int, datetime],
    plans: dict[int, _Plan],
    voided: VoidedLots,
    using: str,
) -> None:
    """Read these lots, now that their accounts are locked, and note what each can give and what it cannot."""
    rows = list(TokenAllocation.objects.using(using).filter(pk__in=step).order_by("account", "pk"))
    held = booking.held_by_lot(sorted({row.account_id for row in rows}), booking.clock(using), using)
    used = [row.pk for row in rows if row.remaining < row.amount]
    moved = LedgerEntry.objects.using(using).filter(allocation__in=used, kind__in=[EntryKind.EXPIRE, *MOVED])
    lapses: Counter[int] = Counter()
    moves: Counter[int] = Counter()
    for lot, kind, amount in moved.order_by().values_list("allocation", "kind").annotate(n=Sum("amount")):
        (lapses if kind == EntryKind.EXPIRE else moves)[lot] -= amount
    for row in rows:
        at = moments[row.account_id]
        lapsed = row.expires_at is not None and row.expires_at <= at
        kept = 0 if lapsed else min(held.get(row.pk, 0), row.remaining)
        free = 0 if lapsed else row.remaining - kept
        expired = lapses[row.pk] + (row.remaining if lapsed else 0)
        gone = moves[row.pk]
        rests = {
            TokensSpent: row.amount - free - kept - expired - gone,
            TokensHeld: kept,
            TokensExpired: expired,
            TokensMoved: gone,
        }
        told: list[TokenPricingError] = [
            error(amount=amount, granted=row.amount) for error, amount in rests.items() if amount > 0
        ]
        if told:
            voided.rests[row.pk] = told
        voided.changed += bool(free)
        voided.unchanged += not free
        voided.tokens += free
        plan = plans.get(row.account_id)
        if plan is None:
            plan = plans[row.account_id] = _Plan(locked[row.account_id], at, 0, 0, [])
        if free:
            plan.free += free
            plan.change -= free
            plan.lots = [*plan.lots, Lot(row.pk, row.remaining, free)]


def _less(amount: int, at_most: bool, free: int) -> int:
    if free < amount and not at_most:
        raise InsufficientTokens(requested=amount, available=free, spendable=free)
    return -min(amount, free)


def _to(amount: int, free: int) -> int:
    return amount - free


def _all(free: int) -> int:
    return -free


Record = Callable[[Verb, int, int, int, str], AuditEvent]


def _deed(reason: str, actor: models.Model | None) -> Record:
    arguments.reason(reason)

    def record(verb: Verb, count: int, granted: int, taken: int, using: str) -> AuditEvent:
        changes = {"granted": (0, granted), "taken": (0, taken)}
        return audit.record(
            f"tokens.{verb.value}_many", actor=actor, reason=reason, changes=changes, count=count, using=using
        )

    return record


@dataclass(slots=True)
class _Plan:
    """What is to happen to one account."""

    account: TokenAccount
    at: datetime
    free: int
    change: int
    lots: Sequence[Lot]


def _correct(
    verb: Verb,
    accounts: Iterable[TokenAccount | int],
    amount: int | None,
    decide: Callable[[int], int],
    source: str | None,
    record: Record,
    key: str | None,
) -> BulkCorrection:
    prefix, _digest = arguments.key(key)
    pks = sorted({account if isinstance(account, int) else account.pk for account in accounts})
    keys = {pk: arguments.required_key(f"{prefix}:{pk}") for pk in pks} if prefix else {}
    using = booking.database()
    with booking.writing(using):
        problems: dict[int, TokenPricingError] = {}
        locked = booking.lock_accounts(pks, using)
        known = _known(verb, keys, amount, source, problems, using)
        plans: list[_Plan] = []
        for step in steps([pk for pk in pks if pk not in known and pk not in problems]):
            plans += _plans(step, locked, decide, source, problems, using)
        changing = [plan for plan in plans if plan.change]
        granted = sum(plan.change for plan in changing if plan.change > 0)
        taken = -sum(plan.change for plan in changing if plan.change < 0)
        event = record(verb, len(changing), granted, taken, using) if changing else None
        if event is not None:
            kind = EntryKind.EXPIRE if verb == Verb.EXPIRE else EntryKind.SUBTRACT
            _book(changing, kind, event, using)
        _remember(verb, plans, keys, amount, source, using)
        result = BulkCorrection(
            changed=len(changing),
            unchanged=len(plans) - len(changing) + len(known),
            granted=granted,
            taken=taken,
            problems=problems,
            event=None if event is None else event.pk,
        )
        if changing:
            tell = partial(signals.tokens_subtracted.send_robust, sender=TokenAccount, result=result)
            transaction.on_commit(tell, using=using)
    return result


def _plans(
    pks: Sequence[int],
    locked: dict[int, TokenAccount],
    decide: Callable[[int], int],
    source: str | None,
    problems: dict[int, TokenPricingError],
    using: str,
) -> list[_Plan]:
    now = booking.clock(using)
    moments = {pk: max(now, of.booked_at + TICK) if of.booked_at else now for pk, of in locked.items() if pk in pks}
    held = booking.held_by_lot(list(moments), now, using)
    lots: dict[int, list[Lot]] = {pk: [] for pk in moments}
    rows = TokenAllocation.objects.using(using).filter(account__in=list(moments), is_open=True)
    if source is not None:
        rows = rows.filter(source=source)
    fields = ("pk", "account", "remaining", "starts_at", "expires_at")
    for pk, account, remaining, starts_at, expires_at in rows.in_burn_order().values_list(*fields):
        at = moments[account]
        if starts_at <= at and (expires_at is None or expires_at > at):
            lots[account].append(Lot(pk, remaining, remaining - held.get(pk, 0)))
    plans = []
    for pk in pks:
        account = locked.get(pk)
        if account is None or account.is_closed:
            problems[pk] = UnknownOwner(owner=str(account or pk))
            continue
        free = sum(lot.free for lot in lots[pk])
        try:
            change = decide(free)
            booking.refuse_uncountable(account, change)
        except TokenPricingError as error:
            problems[pk] = error
            continue
        plans.append(_Plan(account, moments[pk], free, change, lots[pk]))
    return plans


def _book(plans: Sequence[_Plan], kind: EntryKind, event: AuditEvent, using: str) -> None:
    for step in steps(plans):
        entries: list[LedgerEntry] = []
        new: list[TokenAllocation] = []
        moves: list[Move] = []
        for plan in step:
            if plan.change > 0:
                lot = Terms.of(plan.change, source=Source.MANUAL).lot(plan.account, plan.at, event=event)
                new.append(lot)
                entries.append(_entry(plan, EntryKind.GRANT, plan.change, plan.change, event, lot))
                continue
            for move in booking.take(plan.lots, -plan.change):
                moves.append(move)
                entries.append(_entry(plan, kind, move.amount, move.rest, event, move.lot))
        TokenAllocation.objects.using(using).bulk_create(new)
        for entry in entries:
            # The lot has its number only now.
            entry.allocation_id = entry.allocation_id or entry.allocation.pk
        emptied = [move.lot for move in moves if not move.rest]
        for part in steps(emptied):
            TokenAllocation.objects.using(using).filter(pk__in=part).update(remaining=0, is_open=False)
        reduced = [TokenAllocation(pk=move.lot, remaining=move.rest) for move in moves if move.rest]
        TokenAllocation.objects.using(using).bulk_update(reduced, ["remaining"], batch_size=STEP)
        LedgerEntry.objects.using(using).bulk_create(entries, batch_size=STEP)
        changed = [plan.account for plan in step]
        TokenAccount.objects.using(using).bulk_update(changed, ["balance", "booked_at"], batch_size=STEP)


def _entry(
    plan: _Plan, kind: EntryKind, amount: int, rest: int, event: AuditEvent, lot: TokenAllocation | int
) -> LedgerEntry:
    plan.account.balance += amount
    plan.account.booked_at = plan.at
    of = {"allocation": lot} if isinstance(lot, TokenAllocation) else {"allocation_id": lot}
    return LedgerEntry(
        account=plan.account,
        kind=kind,
        amount=amount,
        lot_balance=rest,
        balance_after=plan.account.balance,
        booked_at=plan.at,
        event=event,
        **of,
    )


def _known(
    verb: Verb,
    keys: dict[int, tuple[str, Any]],
    amount: int | None,
    source: str | None,
    problems: dict[int, TokenPricingError],
    using: str,
) -> set[int]:
    """The accounts whose part was done before; a key that was used for something else is that account's problem."""
    whose = {digest: pk for pk, (_text, digest) in keys.items()}
    known = set()
    for step in steps(list(whose)):
        for row in IdempotencyKey.objects.using(using).filter(digest__in=step):
            pk = whose[row.digest]
            if (row.verb, row.account_id, row.amount, row.detail) == (verb, pk, amount, source or ""):
                known.add(pk)
            else:
                problems[pk] = IdempotencyConflict(key=keys[pk][0], detail=row.get_verb_display())
    return known


def _remember(
    verb: Verb,
    plans: Sequence[_Plan],
    keys: dict[int, tuple[str, Any]],
    amount: int | None,
    source: str | None,
    using: str,
) -> None:
    rows = []
    for plan in plans:
        if plan.account.pk in keys:
            text, digest = keys[plan.account.pk]
            facts = {"verb": verb, "account": plan.account, "amount": amount, "detail": source or ""}
            after = plan.free + plan.change
            rows.append((text, IdempotencyKey(digest=digest, booked_at=plan.at, available_after=after, **facts)))
    for step in steps(rows):
        booking.remember_many(step, using)
