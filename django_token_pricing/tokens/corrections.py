"""Tokens out or back by a person's decision: subtract, set, void, refund. Nothing is edited; each is booked."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from django.db import models, transaction
from django.db.models import Sum
from django.utils.translation import gettext as _

from django_token_pricing import audit, signals
from django_token_pricing.choices import EntryKind, Source, Verb
from django_token_pricing.exceptions import InsufficientTokens, InvalidAmount, InvalidKey, UnknownKey
from django_token_pricing.lib import digests
from django_token_pricing.models import (
    IdempotencyKey,
    LedgerEntry,
    TokenAccount,
    TokenAllocation,
    TokenUsageLog,
)
from django_token_pricing.tokens import arguments, booking, grants
from django_token_pricing.tokens.booking import TICK, Move
from django_token_pricing.tokens.limits import counters
from django_token_pricing.tokens.results import LotShare, Refund, Subtraction


def subtract(
    owner: Any, amount: int, *, reason: str, actor: models.Model | None, key: str | None = None
) -> Subtraction:
    """Take tokens out of the owner's own lots, in burn order; what open holds reserve stays.

    Raises InsufficientTokens, UnknownOwner, IdempotencyConflict, InvalidAmount, InvalidKey.
    """
    return _correct(Verb.SUBTRACT, owner, arguments.amount(amount), reason, actor, key)


def set_balance(
    owner: Any, amount: int, *, reason: str, actor: models.Model | None, key: str | None = None
) -> Subtraction:
    """Bring what is available to `amount`, by one manual grant or by a subtraction; held tokens stay as they are.

    The answer's `lots` say what was taken, or (below zero) given. Raises UnknownOwner, IdempotencyConflict,
    InvalidAmount, InvalidKey.
    """
    return _correct(Verb.SET_BALANCE, owner, arguments.amount(amount), reason, actor, key)


def _correct(
    verb: Verb, owner: Any, amount: int, reason: str, actor: models.Model | None, key: str | None
) -> Subtraction:
    text, digest = arguments.key(key)
    whose = arguments.owner(owner)
    arguments.reason(reason)
    using = booking.database()
    with booking.writing(using):
        account = booking.lock(whose, using)
        known = booking.recall(digest, text, verb, account, amount, using)
        if known is not None:
            shares = _shares(account, known.booked_at, using)
            return _corrected(account, amount, known.available_after or 0, known.booked_at, shares, replayed=True)
        now = booking.moment(using, account)
        lots = booking.live_lots(account, now, using)
        free = sum(lot.free for lot in lots)
        change = -amount if verb == Verb.SUBTRACT else amount - free
        if free + change < 0:
            raise InsufficientTokens(requested=amount, available=free, spendable=free)
        event = audit.record(
            f"tokens.{verb.value}",
            target=account,
            actor=actor,
            reason=reason,
            changes={"available": (free, free + change)},
            using=using,
        )
        if change > 0:
            lot = grants.Terms.of(change, source=Source.MANUAL).lot(account, now, event=event)
            grants.issue(lot, account, now, EntryKind.GRANT, event, using)
        else:
            booking.post(account, now, EntryKind.SUBTRACT, booking.take(lots, -change), using=using, event=event)
        facts = {"verb": verb, "account": account, "amount": amount}
        booking.remember(digest, text, using, booked_at=now, available_after=free + change, **facts)
        result = _corrected(account, amount, free + change, now, _shares(account, now, using))
        tell = partial(signals.tokens_subtracted.send_robust, sender=TokenAccount, result=result)
        transaction.on_commit(tell, using=using)
    return result


def void(
    allocation: TokenAllocation, *, reason: str, actor: models.Model | None, key: str | None = None
) -> Subtraction:
    """Take all that is left of one lot, started or not; what open holds reserve stays.

    Raises InsufficientTokens when nothing is left, IdempotencyConflict, InvalidKey.
    """
    text, digest = arguments.key(key)
    arguments.reason(reason)
    using = booking.database()
    with booking.writing(using):
        account = booking.lock_account(allocation.account_id, using)
        detail = f"lot:{allocation.pk}"
        known = booking.recall(digest, text, Verb.VOID, account, None, using, detail=detail)
        if known is not None:
            shares = _shares(account, known.booked_at, using)
            amount = sum(share.amount for share in shares)
            return _corrected(account, amount, known.available_after or 0, known.booked_at, shares, replayed=True)
        now = booking.moment(using, account)
        lot = TokenAllocation.objects.using(using).get(pk=allocation.pk)
        free = booking.free_of(lot, now, using)
        if not free:
            raise InsufficientTokens(requested=1, available=0, spendable=0)
        out = Move(lot.pk, -free, lot.remaining - free)
        event = audit.record(
            "tokens.void",
            target=lot,
            actor=actor,
            reason=reason,
            changes={"left": (lot.remaining, out.rest)},
            using=using,
        )
        booking.post(account, now, EntryKind.SUBTRACT, [out], using=using, event=event)
        after = booking.available(account, now, using)
        facts = {"verb": Verb.VOID, "account": account, "amount": None, "detail": detail}
        booking.remember(digest, text, using, booked_at=now, available_after=after, **facts)
        result = _corrected(account, free, after, now, [LotShare(lot.pk, free)])
        tell = partial(signals.tokens_subtracted.send_robust, sender=TokenAccount, result=result)
        transaction.on_commit(tell, using=using)
    return result


def _shares(account: TokenAccount, at: datetime, using: str) -> list[LotShare]:
    moves = LedgerEntry.objects.using(using).filter(account=account, booked_at=at).order_by("pk")
    return [LotShare(lot, -amount) for lot, amount in moves.values_list("allocation", "amount")]


def _corrected(
    account: TokenAccount, amount: int, after: int, at: datetime, lots: list[LotShare], *, replayed: bool = False
) -> Subtraction:
    return Subtraction(
        account=account.pk, amount=amount, balance_after=after, booked_at=at, replayed=replayed, lots=lots
    )


def refund(
    use_key: str | TokenUsageLog,
    amount: int | None = None,
    *,
    key: str | None = None,
    reason: str,
    actor: models.Model | None = None,
) -> Refund:
    """Give back what a use drew, or `amount` of it, to the lots that paid: the last that paid comes first.

    The use is named by the key it was consumed or held with, or by its row. A lot that has expired meanwhile lapses
    again at once, which the answer's `lapsed` says. A full refund needs no key and repeats its first answer; a partial
    one needs a key of its own. Raises UnknownKey, InvalidKey, InvalidAmount (more than is left), IdempotencyConflict.
    """
    wanted = None if amount is None else arguments.amount(amount)
    arguments.reason(reason)
    using = booking.database()
    use = _use(use_key, using)
    text, digest = arguments.key(key)
    if digest is None:
        if wanted is not None:
            raise InvalidKey(detail=_("a partial refund needs one of its own."))
        # No key of a host holds a NUL, so none can be the same.
        digest = digests.digest(f"refund\x00{use.pk}")
    with booking.writing(using):
        account = booking.lock_account(use.account_id, using)
        # The pool that paid and the one that counts; mostly the same.
        locked = booking.lock_accounts([pk for pk in (use.pool_id, use.member_of_id) if pk], using)
        pool = locked[use.pool_id] if use.pool_id else None
        detail = f"use:{use.pk}"
        known = booking.recall(digest, text, Verb.REFUND, account, wanted, using, detail=detail)
        if known is not None:
            return _refunded_again(known, use, using)
        back = _give_back(use, wanted, using)
        now = booking.moment(using, account, pool)
        total = sum(back.values())
        event = audit.record(
            "tokens.refund", target=use, actor=actor, reason=reason, changes={"refunded": (0, total)}, using=using
        )
        lapsed = 0
        shares: list[LotShare] = []
        for of in (account, pool):
            if of is None:
                continue
            lots = TokenAllocation.objects.using(using).filter(pk__in=back, account=of)
            rows = {lot.pk: lot for lot in lots}
            moves = [Move(pk, share, rows[pk].remaining + share) for pk, share in back.items() if pk in rows]
            gone = [
                Move(move.lot, -move.amount, move.rest - move.amount)
                for move in moves
                if (ends := rows[move.lot].expires_at) is not None and ends <= now
            ]
            member = account if of is pool else None
            facts: dict[str, Any] = {"using": using, "usage": use, "event": event, "member": member}
            booking.post(of, now, EntryKind.REFUND, moves, **facts)
            shares += [LotShare(move.lot, move.amount) for move in moves]
            if gone:
                booking.post(of, now + TICK, EntryKind.EXPIRE, gone, **facts)
                lapsed -= sum(move.amount for move in gone)
            if of is pool and moves:
                booking.add_draw(pool, account, use.booked_at, -sum(move.amount for move in moves), using)
        counting = [pk for pk in (use.account_id, use.member_of_id) if pk]
        counters.give_back(counting, total, _is_whole(use, using), use.used_at, using)
        after = booking.available(account, now, using)
        facts = {"verb": Verb.REFUND, "account": account, "amount": wanted, "detail": detail, "usage": use}
        booking.remember(digest, text, using, booked_at=now, available_after=after, **facts)
        result = _refunded(use, after, now, shares, lapsed)
        tell = partial(signals.tokens_refunded.send_robust, sender=TokenUsageLog, result=result)
        transaction.on_commit(tell, using=using)
    return result


def _use(use_key: str | TokenUsageLog, using: str) -> TokenUsageLog:
    if isinstance(use_key, TokenUsageLog):
        return use_key
    text, digest = arguments.required_key(use_key)
    known = (
        IdempotencyKey.objects.using(using)
        .filter(digest=digest, verb__in=[Verb.CONSUME, Verb.HOLD])
        .select_related("usage", "hold__usage")
        .first()
    )
    use = known and (known.usage or (known.hold and known.hold.usage))
    if not use:
        raise UnknownKey(key=text)
    return use


def _give_back(use: TokenUsageLog, wanted: int | None, using: str) -> dict[int, int]:
    """Tokens by lot: what the use drew less what was refunded, from the last lot that paid on."""
    accounts = [pk for pk in (use.account_id, use.pool_id) if pk]
    paid = LedgerEntry.objects.using(using).filter(
        account__in=accounts, booked_at=use.booked_at, usage=use, kind=EntryKind.CONSUME
    )
    refunds = LedgerEntry.objects.using(using).filter(usage=use, kind=EntryKind.REFUND)
    done = dict(refunds.order_by().values_list("allocation").annotate(n=Sum("amount")))
    left = {lot: -amount - done.get(lot, 0) for lot, amount in paid.order_by("-pk").values_list("allocation", "amount")}
    most = sum(left.values())
    amount = most if wanted is None else wanted
    if not 0 < amount <= most:
        raise InvalidAmount(amount=amount, detail=_("%(most)s tokens of this use can be refunded.") % {"most": most})
    back = {}
    for lot, share in left.items():
        if given := min(share, amount):
            back[lot] = given
            amount -= given
    return back


def _is_whole(use: TokenUsageLog, using: str) -> bool:
    refunds = LedgerEntry.objects.using(using).filter(usage=use, kind=EntryKind.REFUND)
    return bool(refunds.aggregate(n=Sum("amount"))["n"] == use.amount)


def _refunded(
    use: TokenUsageLog, after: int, at: datetime, lots: list[LotShare], lapsed: int, *, replayed: bool = False
) -> Refund:
    return Refund(
        account=use.account_id,
        amount=sum(share.amount for share in lots),
        balance_after=after,
        booked_at=at,
        replayed=replayed,
        lots=lots,
        lapsed=lapsed,
        usage=use.pk,
    )


def _refunded_again(known: IdempotencyKey, use: TokenUsageLog, using: str) -> Refund:
    entries = LedgerEntry.objects.using(using).filter(
        account__in=[pk for pk in (use.account_id, use.pool_id) if pk],
        booked_at__in=[known.booked_at, known.booked_at + TICK],
        usage=use,
    )
    rows = list(entries.order_by("pk").values_list("kind", "booked_at", "allocation", "amount"))
    back = [
        LotShare(lot, amount) for kind, at, lot, amount in rows if kind == EntryKind.REFUND and at == known.booked_at
    ]
    lapsed = -sum(amount for kind, at, _lot, amount in rows if kind == EntryKind.EXPIRE and at > known.booked_at)
    return _refunded(use, known.available_after or 0, known.booked_at, back, lapsed, replayed=True)
