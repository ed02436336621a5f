"""Metered use: consume, and hold with settle or release when the cost is known only afterwards.

Each verb is one call of a path: the PostgreSQL function where it is installed, else the portable one. Both answer an
`Outcome`; here it becomes a result or an error of ours, and the signal.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from math import ceil
from types import TracebackType
from typing import Any, Protocol
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import models, transaction
from django.dispatch import Signal
from django.utils import timezone
from django.utils.translation import gettext as _

from django_token_pricing import audit, conf, signals
from django_token_pricing.choices import LimitMetric, Verb
from django_token_pricing.exceptions import (
    HoldExpired,
    IdempotencyConflict,
    InsufficientTokens,
    LimitExceeded,
    PoolCapReached,
    Throttled,
    TokenPricingError,
    UnknownKey,
    UnknownOwner,
    UnsupportedIsolation,
)
from django_token_pricing.lib import windows
from django_token_pricing.models import PoolMember, TokenHold, TokenUsageLog
from django_token_pricing.tokens import arguments, booking, portable, postgresql
from django_token_pricing.tokens.arguments import NO_USAGE, Owner, Usage
from django_token_pricing.tokens.outcomes import Outcome
from django_token_pricing.tokens.results import Consumption, Held, LotShare, Release


class Path(Protocol):
    """The two ways to meter, with one contract."""

    def meter(
        self,
        verb: str,
        owner: Owner,
        amount: int,
        key: str,
        digest: UUID | None,
        usage: Usage,
        ttl: timedelta | None,
        using: str,
    ) -> Outcome: ...
    def settle(self, amount: int, key: str, digest: UUID, usage: Usage, using: str) -> Outcome: ...
    def release(self, key: str, digest: UUID, using: str) -> Outcome: ...


def _path(using: str) -> Path:
    if conf.current().LEDGER_PATH == "auto" and postgresql.installed(using):
        return postgresql
    return portable


class Use:
    """One use for `consume_many` and `record_many`, checked when it is made.

    Takes what `consume` takes: owner, amount, key and the facts of the use.
    """

    __slots__ = ("amount", "digest", "key", "owner", "subject", "usage")

    def __init__(self, owner: Any, amount: int, *, key: str | None = None, **usage: Any) -> None:
        self.subject = owner
        self.owner = arguments.owner(owner)
        self.amount = arguments.amount(amount, least=0)
        self.key, self.digest = arguments.key(key)
        self.usage = arguments.usage(usage)


def consume(
    owner: Any,
    amount: int,
    *,
    key: str | None,
    provider: str | None = None,
    model: str | None = None,
    feature: str | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    cached_tokens: int | None = None,
    cache_write_tokens: int | None = None,
    reasoning_tokens: int | None = None,
    cost: Any = None,
    metadata: dict[str, Any] | None = None,
    used_at: datetime | None = None,
) -> Consumption:
    """Draw tokens for a use, from own lots in burn order and then from the pool's, or draw nothing and raise.

    With 0 tokens the use is booked and nothing is drawn. The same key with the same owner and amount gives the first
    answer again and draws nothing; None means that the caller takes care of repetitions.

    Raises LimitExceeded and Throttled for limits, which are asked before the balance; InsufficientTokens,
    PoolCapReached (which is one, too), IdempotencyConflict, UnknownOwner, UnsupportedIsolation, InvalidAmount,
    InvalidKey, InvalidMoment, InvalidUsage. The host's transaction stays usable.
    """
    use = Use(
        owner,
        amount,
        key=key,
        provider=provider,
        model=model,
        feature=feature,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        cache_write_tokens=cache_write_tokens,
        reasoning_tokens=reasoning_tokens,
        cost=cost,
        metadata=metadata,
        used_at=used_at,
    )
    using = booking.database()
    return _consume(use, _path(using), using)


def _consume(use: Use, path: Path, using: str) -> Consumption:
    outcome = path.meter(Verb.CONSUME.value, use.owner, use.amount, use.key, use.digest, use.usage, None, using)
    result = _consumption(_accepted(outcome, use.key, use.subject))
    _tell(signals.tokens_consumed, TokenUsageLog, result, using)
    return result


def consume_many(uses: Iterable[Use]) -> list[Consumption]:
    """Book several uses, of one owner or of many, all or none; the answers come in the order of the uses.

    All accounts are locked first, in the order that every verb keeps, so that calls with owners in common never
    deadlock. Raises what `consume` raises, for the first use that fails.
    """
    given = list(uses)
    using = booking.database()
    path = _path(using)
    results: dict[int, Consumption] = {}
    with booking.writing(using):
        order = _lock_owners(given, using)
        for place in sorted(range(len(given)), key=lambda place: order[given[place].owner]):
            results[place] = _consume(given[place], path, using)
    return [results[place] for place in range(len(given))]


def _lock_owners(uses: list[Use], using: str) -> dict[Owner, tuple[int, int]]:
    """Lock the users' accounts; says in which order to book, so that pools are locked after them and in their order.

    A pool is met as the owner of a use or through a member who draws on it, so both are sorted by its account.
    """
    pks = {owner: account.pk for owner, account in booking.accounts_of({use.owner for use in uses}, using).items()}
    users = {owner.user: pk for owner, pk in pks.items() if owner.pool is None}
    booking.lock_accounts(users.values(), using)
    members = PoolMember.objects.using(using).filter(user__in=users)
    pools = dict(members.values_list("user", "pool__account"))
    return {owner: (pools.get(owner.user) or 0 if owner.pool is None else pk, pk) for owner, pk in pks.items()}


class Hold:
    """A reservation, in effect since the call that made it. Leaving the `with` block without settling releases it."""

    def __init__(self, result: Held) -> None:
        self.result = result
        self._closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.result, name)

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._closed or transaction.get_connection(booking.database()).needs_rollback:
            # A transaction that must roll back takes the hold with it.
            return
        with suppress(IdempotencyConflict):  # another process settled it
            self.release()

    def settle(self, actual: int, **usage: Any) -> Consumption:
        settled = settle(self.result.key, actual, **usage)
        self._closed = True
        return settled

    def release(self) -> Release:
        released = release(self.result.key)
        self._closed = True
        return released


def hold(owner: Any, amount: int, *, key: str, ttl: timedelta | float | None = None, **usage: Any) -> Hold:
    """Reserve tokens before the cost is known, for `ttl` (a timedelta or seconds; by default HOLD_TIMEOUT).

    It counts in full until it is settled or released or its time is over, with no sweep needed. The same key with the
    same owner and amount gives the first answer again. Raises what `consume` raises.
    """
    text, digest = arguments.required_key(key)
    whose = arguments.owner(owner)
    facts = arguments.usage(usage)
    lasts = arguments.ttl(ttl, default=conf.current().HOLD_TIMEOUT)
    using = booking.database()
    outcome = _path(using).meter(Verb.HOLD.value, whose, arguments.amount(amount), text, digest, facts, lasts, using)
    done = _accepted(outcome, text, owner)
    result = Held(
        account=done.account,
        amount=done.amount,
        balance_after=done.available,
        booked_at=done.booked,
        replayed=done.status == "replay",
        key=text,
        hold=done.hold,
        expires_at=done.expires,
    )
    _tell(signals.tokens_held, TokenHold, result, using)
    return Hold(result)


def settle(key: str, actual: int, **usage: Any) -> Consumption:
    """Turn the hold with this key into a use of `actual` tokens, and give back what it reserved beyond that.

    Within the hold's time this never fails for up to the held amount, even if a lot has expired meanwhile; what goes
    beyond is consumed too, if the limits allow it, or nothing is booked. After its time it is a plain consume. Facts of
    the use given here go before those given to `hold`. Settling again for the same amount gives the first answer again.

    Raises UnknownKey, HoldExpired for a hold that was released, IdempotencyConflict for one that was settled for
    another amount, and what `consume` raises.
    """
    text, digest = arguments.required_key(key)
    amount = arguments.amount(actual, least=0)
    facts = arguments.usage(usage) if usage else NO_USAGE
    using = booking.database()
    done = _accepted(_path(using).settle(amount, text, digest, facts, using), text)
    result = _consumption(done)
    _tell(signals.tokens_consumed, TokenUsageLog, result, using)
    return result


def release(key: str, *, reason: str = "", actor: models.Model | None = None) -> Release:
    """Give a hold back. With a reason or an actor, a person's decision, it leaves an audit event.

    Raises UnknownKey, and IdempotencyConflict for a hold that was settled.
    """
    text, digest = arguments.required_key(key)
    using = booking.database()
    if not reason and actor is None:
        outcome = _path(using).release(text, digest, using)
    else:
        with booking.writing(using):
            outcome = _path(using).release(text, digest, using)
            if outcome.status == "ok":
                held = TokenHold.objects.using(using).get(pk=outcome.hold)
                changes = {"held": (outcome.amount, 0)}
                audit.record("tokens.release", target=held, actor=actor, reason=reason, changes=changes, using=using)
    if outcome.status == "settled":
        outcome = outcome._replace(status="conflict", detail=_("it is a hold that was settled."))
    done = _accepted(outcome, text)
    result = Release(
        account=done.account,
        amount=done.amount,
        balance_after=done.available,
        booked_at=done.booked,
        replayed=done.status == "replay",
        key=text,
        hold=done.hold,
    )
    _tell(signals.tokens_released, TokenHold, result, using)
    return result


def _accepted(outcome: Outcome, key: str, subject: Any = None) -> Outcome:
    """The outcome of a deed that was done, now or before; the error for one that was not."""
    if outcome.status in ("ok", "replay"):
        return outcome
    raise _error(outcome, key, subject)


def _error(outcome: Outcome, key: str, subject: Any) -> TokenPricingError:
    shortage = {
        "requested": outcome.amount,
        "available": outcome.available,
        "spendable": outcome.spendable,
    }
    match outcome.status:
        case "insufficient":
            return InsufficientTokens(**shortage)
        case "cap":
            wait = _until_next_month(outcome)
            facts = {"rule": None, "metric": "tokens", "window": "month", "retry_after": wait}
            return PoolCapReached(limit=outcome.cap, used=outcome.used, **facts, **shortage)
        case "limit" | "throttled":
            refusal = Throttled if outcome.status == "throttled" else LimitExceeded
            return refusal(
                rule=outcome.rule,
                metric=outcome.metric,
                window=outcome.window,
                limit=outcome.cap,
                used=outcome.used,
                requested=outcome.amount if outcome.metric == LimitMetric.TOKENS else 1,
                retry_after=outcome.wait,
            )
        case "conflict":
            verbs = {verb.value: str(verb.label) for verb in Verb}
            return IdempotencyConflict(key=key, detail=verbs.get(outcome.detail or "", outcome.detail))
        case "settled":
            detail = _("the hold was settled for %(amount)s tokens.") % {"amount": outcome.detail}
            return IdempotencyConflict(key=key, detail=detail)
        case "released":
            return HoldExpired(key=key, status=_("released"))
        case "unknown_key":
            return UnknownKey(key=key)
        case "unknown_owner":
            kind = get_user_model().__name__ if subject is None else type(subject).__name__
            return UnknownOwner(owner=f"{kind} {getattr(subject, 'pk', '')}")
        case "isolation":
            return UnsupportedIsolation(isolation=outcome.detail)
    raise AssertionError(outcome.status)


def _until_next_month(outcome: Outcome) -> int | None:
    """In how many seconds a member's cap begins anew; None where the pool's part is above it in any month."""
    if outcome.amount - outcome.available > (outcome.cap or 0):
        return None
    _start, ends_at = windows.bounds("month", outcome.booked, timezone.get_default_timezone())
    return ceil((ends_at - outcome.booked) / timedelta(seconds=1)) if ends_at else None


def _consumption(done: Outcome) -> Consumption:
    return Consumption(
        account=done.account,
        amount=done.amount,
        balance_after=done.available,
        booked_at=done.booked,
        replayed=done.status == "replay",
        lots=list(map(LotShare, done.lots or (), done.shares or ())),
        usage=done.usage,
    )


def _tell(signal: Signal, sender: type[models.Model], result: Any, using: str) -> None:
    """Send the frozen result once the transaction has committed; nothing for a replay, or where nobody listens."""
    if not result.replayed and signal.has_listeners(sender):
        transaction.on_commit(partial(signal.send_robust, sender=sender, result=result), using=using)
