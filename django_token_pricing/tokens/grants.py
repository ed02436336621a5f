"""Tokens in: grant a lot, grant many, carry the rest of a lot over into a new one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from django.db import models, transaction
from django.utils.translation import gettext as _

from django_token_pricing import audit, signals
from django_token_pricing.choices import EntryKind, Source, Verb
from django_token_pricing.exceptions import InsufficientTokens, InvalidAmount, InvalidMoment
from django_token_pricing.lib.money import Money
from django_token_pricing.models import (
    DEFAULT_PRIORITY,
    AuditEvent,
    LedgerEntry,
    TokenAccount,
    TokenAllocation,
)
from django_token_pricing.tokens import arguments, booking
from django_token_pricing.tokens.booking import Move
from django_token_pricing.tokens.results import Grant

Moment = datetime | date
Paid = Money | tuple[Decimal | int | str, str]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a lot is granted on, checked."""

    amount: int
    source: str
    priority: int
    starts_at: datetime | None
    expires_at: datetime | None
    paid_amount: Decimal | None
    paid_currency: str

    @classmethod
    def of(
        cls,
        amount: Any,
        *,
        source: Any,
        priority: Any = DEFAULT_PRIORITY,
        starts_at: Moment | None = None,
        expires_at: Moment | None = None,
        paid: Paid | None = None,
    ) -> Terms:
        if isinstance(priority, bool) or not isinstance(priority, int) or not -32768 <= priority <= 32767:
            raise InvalidAmount(amount=priority, detail=_("a priority is a whole number from -32768 to 32767."))
        starts, ends = arguments.start(starts_at), arguments.expiry(expires_at)
        if starts is not None and ends is not None and ends <= starts:
            raise InvalidMoment(name="expires_at", value=ends, detail=_("the lot starts only then or later."))
        return cls(arguments.amount(amount), arguments.source(source), priority, starts, ends, *arguments.paid(paid))

    def lot(self, account: TokenAccount, at: datetime, **facts: Any) -> TokenAllocation:
        """The lot that these terms give, granted at that moment. Raises InvalidMoment, InvalidAmount."""
        starts_at = self.starts_at or at
        if self.expires_at is not None and self.expires_at <= starts_at:
            raise InvalidMoment(name="expires_at", value=self.expires_at, detail=_("it lies in the past."))
        booking.refuse_uncountable(account, self.amount)
        return TokenAllocation(
            account=account,
            source=self.source,
            amount=self.amount,
            remaining=self.amount,
            priority=self.priority,
            starts_at=starts_at,
            expires_at=self.expires_at,
            booked_at=at,
            paid_amount=self.paid_amount,
            paid_currency=self.paid_currency,
            **facts,
        )


def grant(
    owner: Any,
    amount: int,
    *,
    source: Source | str,
    key: str | None = None,
    priority: int = DEFAULT_PRIORITY,
    starts_at: Moment | None = None,
    expires_at: Moment | None = None,
    paid: Paid | None = None,
    reason: str = "",
    actor: models.Model | None = None,
) -> Grant:
    """Give a lot of tokens. A date as `expires_at` means the end of that day in the site's zone.

    The same key with the same owner, amount and source gives the first answer again and grants nothing.
    Raises UnknownOwner, IdempotencyConflict, InvalidAmount, InvalidKey, InvalidMoment, InvalidUsage.
    """
    terms = Terms.of(amount, source=source, priority=priority, starts_at=starts_at, expires_at=expires_at, paid=paid)
    text, digest = arguments.key(key)
    whose = arguments.owner(owner)
    using = booking.database()
    with booking.writing(using):
        account = booking.lock(whose, using)
        known = booking.recall(digest, text, Verb.GRANT, account, terms.amount, using, detail=terms.source)
        if known is not None:
            lot = TokenAllocation.objects.using(using).get(account=account, booked_at=known.booked_at, key=text)
            before = known.available_after
            after = booking.available(account, booking.moment(using, account), using) if before is None else before
            return _granted(lot, after, replayed=True)
        now = booking.moment(using, account)
        free = booking.available(account, now, using)
        lot = terms.lot(account, now, key=text)
        after = free + terms.amount if lot.starts_at <= now else free
        lot.event = audit.record(
            "tokens.grant",
            target=account,
            actor=actor,
            reason=reason,
            changes={"available": (free, after), "granted": (0, terms.amount)},
            using=using,
        )
        issue(lot, account, now, EntryKind.GRANT, lot.event, using)
        facts = {"verb": Verb.GRANT, "account": account, "amount": terms.amount, "detail": terms.source}
        booking.remember(digest, text, using, booked_at=now, available_after=after, **facts)
        result = _granted(lot, after)
        tell = partial(signals.tokens_granted.send_robust, sender=TokenAllocation, result=result)
        transaction.on_commit(tell, using=using)
    return result


def issue(
    lot: TokenAllocation, account: TokenAccount, now: datetime, kind: EntryKind, event: AuditEvent | None, using: str
) -> None:
    lot.save(using=using, force_insert=True)
    account.balance += lot.amount
    account.booked_at = now
    LedgerEntry.objects.using(using).create(
        account=account,
        allocation=lot,
        kind=kind,
        amount=lot.amount,
        lot_balance=lot.amount,
        balance_after=account.balance,
        booked_at=now,
        event=event,
    )
    account.save(using=using, update_fields=["balance", "booked_at"])


def _granted(lot: TokenAllocation, after: int, *, replayed: bool = False) -> Grant:
    return Grant(
        account=lot.account_id,
        amount=lot.amount,
        balance_after=after,
        booked_at=lot.booked_at,
        replayed=replayed,
        allocation=lot.pk,
    )


def rollover(
    allocation: TokenAllocation,
    amount: int | None = None,
    *,
    expires_at: Moment | None,
    starts_at: Moment | None = None,
    priority: int | None = None,
    key: str | None = None,
    reason: str = "",
    actor: models.Model | None = None,
) -> Grant:
    """Move what is left of a lot (or `amount` of it) into a new lot with dates of its own, in one step.

    What open holds reserve stays, and what has expired is gone. The new lot knows the old one as its parent and takes
    along its share of what was paid. Whoever waits to consume meanwhile sees either the old lot or the new one, never
    neither.
    Raises InsufficientTokens when less is left, and what `grant` raises.
    """
    wanted = None if amount is None else arguments.amount(amount)
    text, digest = arguments.key(key)
    using = booking.database()
    with booking.writing(using):
        account = booking.lock_account(allocation.account_id, using)
        detail = f"lot:{allocation.pk}"
        known = booking.recall(digest, text, Verb.ROLLOVER, account, wanted, using, detail=detail)
        if known is not None:
            lot = TokenAllocation.objects.using(using).get(parent=allocation, booked_at=known.booked_at)
            return _granted(lot, known.available_after or 0, replayed=True)
        old = TokenAllocation.objects.using(using).get(pk=allocation.pk)
        now = booking.moment(using, account)
        free = booking.free_of(old, now, using)
        moved = free if wanted is None else wanted
        if moved > free or moved == 0:
            raise InsufficientTokens(requested=max(moved, 1), available=free, spendable=free)
        terms = Terms.of(
            moved,
            source=Source.ROLLOVER,
            priority=old.priority if priority is None else priority,
            # A lot that waits for its start goes on waiting.
            starts_at=starts_at or (old.starts_at if old.starts_at > now else None),
            expires_at=expires_at,
        )
        event = audit.record(
            "tokens.rollover", target=old, actor=actor, reason=reason, changes={"rolled_over": (0, moved)}, using=using
        )
        out = [Move(old.pk, -moved, old.remaining - moved)]
        booking.post(account, now, EntryKind.ROLLOVER_OUT, out, using=using, event=event)
        lot = terms.lot(account, now, key=text, parent=old, event=event)
        if old.paid_amount is not None:
            lot.paid_amount = (old.paid_amount * moved / old.amount).quantize(Decimal("0.0001"))
            lot.paid_currency = old.paid_currency
        issue(lot, account, now, EntryKind.ROLLOVER_IN, event, using)
        after = booking.available(account, now, using)
        facts = {"verb": Verb.ROLLOVER, "account": account, "amount": wanted, "detail": detail}
        booking.remember(digest, text, using, booked_at=now, available_after=after, **facts)
    return _granted(lot, after)
