"""The metering path of every database, with the contract of the PostgreSQL function, statement by statement.

It runs on PostgreSQL too: for hosts whose tests skip migrations, and under the same tests as the function.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Sum

from django_token_pricing.choices import EntryKind, HoldStatus, Verb
from django_token_pricing.exceptions import IdempotencyConflict, UnknownOwner
from django_token_pricing.models import (
    IdempotencyKey,
    LedgerEntry,
    PoolDraw,
    PoolMember,
    TokenAccount,
    TokenHold,
    TokenHoldLot,
    TokenUsageLog,
)
from django_token_pricing.tokens import booking
from django_token_pricing.tokens.arguments import USAGE_FIELDS, Owner, Usage
from django_token_pricing.tokens.booking import Lot, Move
from django_token_pricing.tokens.limits import counters
from django_token_pricing.tokens.limits.counters import Governed, Verdict
from django_token_pricing.tokens.outcomes import Outcome


@dataclass(slots=True)
class Pick:
    """The tokens found for one deed: movements by account, and what is still short."""

    short: int
    available: int = 0
    own: list[Move] = field(default_factory=list)
    pool: list[Move] = field(default_factory=list)
    pool_free: int = 0
    cap: int | None = None
    used: int = 0

    def draw(self, moves: list[Move], lots: Iterable[Lot], most: int | None = None) -> int:
        """Take what is short from the lots, at most `most`; returns what is free in them after that.

        A lot from which a hold's part was taken already gives from what is free beyond it, in the same movement.
        """
        left = 0
        places = {move.lot: place for place, move in enumerate(moves)}
        for lot in lots:
            taken = -moves[places[lot.id]].amount if lot.id in places else 0
            free = lot.free - taken
            share = min(free, self.short, free if most is None else most)
            left += free - share
            if share > 0:
                self.short -= share
                most = None if most is None else most - share
                move = Move(lot.id, -(taken + share), lot.remaining - taken - share)
                if taken:
                    moves[places[lot.id]] = move
                else:
                    moves.append(move)
        return left


def meter(
    verb: str, owner: Owner, amount: int, key: str, digest: UUID | None, usage: Usage, ttl: timedelta | None, using: str
) -> Outcome:
    """consume and hold."""
    try:
        with booking.writing(using):
            account = booking.lock(owner, using)
            known = booking.recall(digest, key, Verb(verb), account, amount, using)
            if known is not None:
                return _again(known, amount, using)
            governed = _governed(account, None, using)
            pick, pool, now = _find(account, amount, None, using)
            # The limits come before the balance: what they say does not depend on it.
            verdict = _asked(Verb(verb), governed, amount, None, usage, now, using)
            if verdict.refusal is not None:
                return verdict.refusal
            if pick.short:
                return _refusal(pick, account, amount, now)
            if verb == Verb.HOLD:
                counters.note(verdict, usage.used_at or now, now, using)
                group = governed.group
                ends = now + (ttl or timedelta())
                return _hold(account, pool, group, pick, amount, key, digest, usage, now, ends, using)
            use = _use(account, pool, governed.group, pick, amount, key, usage, now, using)
            counters.count(verdict, governed, amount, use.used_at, now, using)
            facts = {"verb": verb, "account": account, "amount": amount, "available_after": pick.available}
            booking.remember(digest, key, using, booked_at=now, usage=use, **facts)
            return _booked(account, pick, amount, now, use)
    except UnknownOwner:
        return Outcome("unknown_owner")
    except IdempotencyConflict as error:
        return Outcome("conflict", error.detail)


def settle(amount: int, key: str, digest: UUID, usage: Usage, using: str) -> Outcome:
    known = IdempotencyKey.objects.using(using).filter(digest=digest).first()
    if known is None or known.hold_id is None:
        return Outcome("unknown_key") if known is None else Outcome("conflict", known.verb)
    with booking.writing(using):
        account = booking.lock_account(known.account_id, using)
        hold = TokenHold.objects.using(using).get(pk=known.hold_id)
        if hold.status == HoldStatus.SETTLED and hold.settled_amount == amount:
            return _settled_again(hold, using)
        if hold.status in (HoldStatus.SETTLED, HoldStatus.RELEASED):
            return Outcome(hold.status, str(hold.settled_amount))
        governed = _governed(account, hold, using)
        pick, pool, now = _find(account, amount, hold, using)
        merged = _merged(hold, usage)
        verdict = _asked(Verb.CONSUME, governed, amount, hold, merged, now, using)
        if verdict.refusal is not None:
            return verdict.refusal
        if pick.short:
            return _refusal(pick, account, amount, now)
        use = _use(account, pool, governed.group, pick, amount, key, merged, now, using)
        counters.count(verdict, governed, amount, use.used_at, now, using)
        _close(hold, HoldStatus.SETTLED, now, pick.available, using, settled_amount=amount, usage=use)
        return _booked(account, pick, amount, now, use)._replace(hold=hold.pk)


def release(key: str, digest: UUID, using: str) -> Outcome:
    known = IdempotencyKey.objects.using(using).filter(digest=digest).first()
    if known is None or known.hold_id is None:
        return Outcome("unknown_key") if known is None else Outcome("conflict", known.verb)
    with booking.writing(using):
        account = booking.lock_account(known.account_id, using)
        hold = TokenHold.objects.using(using).get(pk=known.hold_id)
        if hold.status == HoldStatus.SETTLED:
            return Outcome("settled", str(hold.settled_amount))
        if hold.status == HoldStatus.RELEASED and hold.closed_at is not None:
            still = hold.amount if hold.closed_at < hold.expires_at else 0
            return Outcome(
                "replay", None, account.pk, still, hold.closed_available or 0, booked=hold.closed_at, hold=hold.pk
            )
        pool = _pool_of(hold, account, using)
        now = booking.moment(using, account, pool)
        still = hold.amount if now < hold.expires_at else 0
        free = sum(lot.free for lot in booking.live_lots(account, now, using, without_hold=hold.pk))
        _close(hold, HoldStatus.RELEASED, now, free, using)
        _touch(now, using, account, pool)
        return Outcome("ok", None, account.pk, still, free, booked=now, hold=hold.pk)


def _governed(account: TokenAccount, hold: TokenHold | None, using: str) -> Governed:
    """The rules that the locked account falls under. Where the pool's count, its account is locked, too."""
    governed = counters.governing(account, using)
    if governed.group is not None and governed.is_grouped:
        # A hold may be on another pool than the one that counts.
        lines = TokenHoldLot.objects.using(using).filter(hold=hold).exclude(account=account)
        reserved = [] if hold is None else list(lines.values_list("account", flat=True)[:1])
        booking.lock_accounts([governed.group.pk, *reserved], using)
        return counters.governing(account, using)
    return governed


def _asked(
    verb: Verb, governed: Governed, amount: int, hold: TokenHold | None, usage: Usage, now: datetime, using: str
) -> Verdict:
    model, feature = usage.model or "", usage.feature or ""
    return counters.check(verb, governed, amount, hold, usage.used_at or now, now, using, model=model, feature=feature)


def _find(
    account: TokenAccount, amount: int, hold: TokenHold | None, using: str
) -> tuple[Pick, TokenAccount | None, datetime]:
    """What the hold reserves, then own lots; where these do not suffice, once more with the pool's."""
    # Past its ttl this is a plain consume: it draws on the pool that the user is in now.
    is_void = hold is None or hold.status != HoldStatus.OPEN or hold.expires_at <= booking.clock(using)
    pool = _pool_of(hold, account, using) if hold and not is_void else None
    pick, now = _try(account, pool, amount, hold, using)
    if pick.short and pool is None and account.user_id is not None:
        member = PoolMember.objects.using(using).filter(user=account.user_id, pool__is_active=True).first()
        row = TokenAccount.objects.using(using).filter(pool=member.pool_id).first() if member else None
        if row is not None:
            pool = booking.lock_account(row.pk, using)
            pick, now = _try(account, pool, amount, hold, using)
    return pick, pool, now


def _try(
    account: TokenAccount, pool: TokenAccount | None, amount: int, hold: TokenHold | None, using: str
) -> tuple[Pick, datetime]:
    now = booking.moment(using, account, pool)
    pick = Pick(short=amount)
    if hold is not None and hold.status == HoldStatus.OPEN and hold.expires_at > now:
        lines = TokenHoldLot.objects.using(using).filter(hold=hold).select_related("allocation").order_by("pk")
        for line in lines:
            share = min(line.amount, pick.short)
            if share:
                moves = pick.own if line.account_id == account.pk else pick.pool
                moves.append(Move(line.allocation_id, -share, line.allocation.remaining - share))
                pick.short -= share
    without = hold.pk if hold else None
    pick.available = pick.draw(pick.own, booking.live_lots(account, now, using, without_hold=without))
    if pool is not None and pick.short:
        member = (
            PoolMember.objects.using(using)
            .filter(user=account.user_id, pool=pool.pool_id, pool__is_active=True)
            .first()
        )
        if member is not None:
            pick.cap = member.monthly_cap
            pick.used = -sum(move.amount for move in pick.pool) + drawn_and_held(
                pool.pk, account.pk, now, using, without_hold=without
            )
            most = None if pick.cap is None else max(pick.cap - pick.used, 0)
            pick.pool_free = pick.draw(pick.pool, booking.live_lots(pool, now, using, without_hold=without), most)
    return pick, now


def drawn_and_held(pool: int, member: int, now: datetime, using: str, *, without_hold: int | None = None) -> int:
    """What counts against a member's monthly cap: net draws of this month, and what holds reserve of the pool now."""
    drawn = PoolDraw.objects.using(using).filter(pool=pool, member=member, month=booking.site_month(now))
    held = TokenHoldLot.objects.using(using).filter(
        account=pool, hold__account=member, closed_at=None, expires_at__gt=now
    )
    if without_hold is not None:
        held = held.exclude(hold=without_hold)
    return (drawn.aggregate(n=Sum("drawn"))["n"] or 0) + (held.aggregate(n=Sum("amount"))["n"] or 0)


def _pool_of(hold: TokenHold, account: TokenAccount, using: str) -> TokenAccount | None:
    """The pool in which a hold reserves tokens, locked."""
    line = TokenHoldLot.objects.using(using).filter(hold=hold).exclude(account=account).first()
    return booking.lock_account(line.account_id, using) if line else None


def _refusal(pick: Pick, account: TokenAccount, amount: int, now: datetime) -> Outcome:
    own = -sum(move.amount for move in pick.own)
    return Outcome(
        "cap" if pick.pool_free >= pick.short else "insufficient",
        account=account.pk,
        amount=amount,
        available=pick.available + own,
        spendable=amount - pick.short,
        cap=pick.cap,
        used=pick.used,
        booked=now,
    )


def _use(
    account: TokenAccount,
    pool: TokenAccount | None,
    group: TokenAccount | None,
    pick: Pick,
    amount: int,
    key: str,
    usage: Usage,
    now: datetime,
    using: str,
) -> TokenUsageLog:
    use = TokenUsageLog.objects.using(using).create(
        account=account,
        pool=pool if pick.pool else None,
        member_of=group,
        amount=amount,
        tier=account.tier,
        key=key,
        booked_at=now,
        **{"used_at": now, **usage.given()},
    )
    booking.post(account, now, EntryKind.CONSUME, pick.own, using=using, usage=use)
    if pool is not None:
        booking.post(pool, now, EntryKind.CONSUME, pick.pool, using=using, usage=use, member=account)
        if pick.pool:
            booking.add_draw(pool, account, now, -sum(move.amount for move in pick.pool), using)
    return use


def _hold(
    account: TokenAccount,
    pool: TokenAccount | None,
    group: TokenAccount | None,
    pick: Pick,
    amount: int,
    key: str,
    digest: UUID | None,
    usage: Usage,
    now: datetime,
    expires_at: datetime,
    using: str,
) -> Outcome:
    hold = TokenHold.objects.using(using).create(
        account=account,
        member_of=group,
        key=key,
        amount=amount,
        booked_at=now,
        expires_at=expires_at,
        available_after=pick.available,
        **usage.given(),
    )
    TokenHoldLot.objects.using(using).bulk_create(
        TokenHoldLot(hold=hold, account=of, allocation_id=move.lot, amount=-move.amount, expires_at=expires_at)
        for of, moves in ((account, pick.own), (pool, pick.pool))
        for move in moves
    )
    _touch(now, using, account, pool if pick.pool else None)
    facts = {"verb": Verb.HOLD, "account": account, "amount": amount, "available_after": pick.available}
    booking.remember(digest, key, using, booked_at=now, hold=hold, **facts)
    return Outcome("ok", None, account.pk, amount, pick.available, booked=now, hold=hold.pk, expires=expires_at)


def _close(hold: TokenHold, status: HoldStatus, now: datetime, free: int, using: str, **facts: Any) -> None:
    TokenHold.objects.using(using).filter(pk=hold.pk).update(
        status=status, closed_at=now, closed_available=free, **facts
    )
    TokenHoldLot.objects.using(using).filter(hold=hold, closed_at=None).update(closed_at=now)


def _touch(now: datetime, using: str, *accounts: TokenAccount | None) -> None:
    pks = [account.pk for account in accounts if account is not None]
    TokenAccount.objects.using(using).filter(pk__in=pks).update(booked_at=now)


def _merged(hold: TokenHold, usage: Usage) -> Usage:
    """What settling says of the use goes before what holding said."""
    held = {name: value for name in USAGE_FIELDS if (value := getattr(hold, name)) not in (None, "", {})}
    return Usage(**{**held, **usage.given()})


def _booked(account: TokenAccount, pick: Pick, amount: int, now: datetime, use: TokenUsageLog) -> Outcome:
    moves = pick.own + pick.pool
    return Outcome(
        "ok",
        None,
        account.pk,
        amount,
        pick.available,
        booked=now,
        usage=use.pk,
        lots=[move.lot for move in moves],
        shares=[-move.amount for move in moves],
    )


def _again(known: IdempotencyKey, amount: int, using: str) -> Outcome:
    answer = Outcome(
        "replay", None, known.account_id, amount, known.available_after or 0, booked=known.booked_at, hold=known.hold_id
    )
    if known.hold_id is not None:
        return answer._replace(expires=TokenHold.objects.using(using).get(pk=known.hold_id).expires_at)
    return _with_lots(answer._replace(usage=known.usage_id), using)


def _settled_again(hold: TokenHold, using: str) -> Outcome:
    answer = Outcome(
        "replay",
        None,
        hold.account_id,
        hold.settled_amount or 0,
        hold.closed_available or 0,
        booked=hold.closed_at,
        usage=hold.usage_id,
        hold=hold.pk,
    )
    return _with_lots(answer, using)


def _with_lots(answer: Outcome, using: str) -> Outcome:
    use = TokenUsageLog.objects.using(using).get(pk=answer.usage)
    moves = list(
        LedgerEntry.objects.using(using)
        .filter(account__in=[pk for pk in (use.account_id, use.pool_id) if pk], booked_at=use.booked_at, usage=use)
        .order_by("pk")
        .values_list("allocation", "amount")
    )
    return answer._replace(lots=[lot for lot, _ in moves], shares=[-amount for _, amount in moves])
