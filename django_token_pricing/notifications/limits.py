"""A share of a limit is used. Counters say how much is; which rule counts for an account is decided as for a use.

Limits that are counted in the cache have no counters, so nobody is warned of them; neither have those of one request.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.db.models.lookups import IsNull

from django_token_pricing.choices import LimitCounting, LimitMetric, LimitScope
from django_token_pricing.lib import windows
from django_token_pricing.lib.steps import STEP, steps
from django_token_pricing.models import LimitCounter, LimitRule, PoolMember, WarningRule, WarningState
from django_token_pricing.notifications.firing import Due, states_of
from django_token_pricing.tokens.limits import rules as limit_rules

# Candidates that one query reads.
PIECE = 20_000
# A limit that was reached in a window that is over is news for so long.
NEWS = timedelta(hours=6)

Pair = tuple[LimitRule, LimitCounter]


def due(rule: WarningRule, at: datetime, using: str) -> Iterator[list[Due]]:
    counted = LimitRule.objects.using(using).filter(retired_at=None, counting=LimitCounting.LEDGER, limit__gt=0)
    counted = counted.exclude(period="").order_by("pk")
    for limit in counted.filter(scope__in=[LimitScope.TIER, LimitScope.DEFAULT]):
        if limit_rules.is_current(limit, at) and (not limit.tier or rule.tier in ("", limit.tier)):
            yield from _of_many(rule, limit, at, using)
    last = 0
    while limits := list(counted.filter(scope__in=[LimitScope.USER, LimitScope.POOL], pk__gt=last)[:STEP]):
        last = limits[-1].pk
        yield _of_some(rule, [limit for limit in limits if limit_rules.is_current(limit, at)], at, using)


def _of_many(rule: WarningRule, limit: LimitRule, at: datetime, using: str) -> Iterator[list[Due]]:
    """A limit of a tier or of everybody: the database finds who has used so much and was not told of it."""
    done = WarningState.objects.filter(rule=rule, account=OuterRef("account"), period=_period(limit))
    if windows.is_rolling(limit.period):
        done = done.filter(fired_at__gt=at - windows.length_of(limit.period))
    else:
        done = done.filter(fired_at__gte=OuterRef("starts_at"))
    counters = _counters(rule, using).filter(
        _is_used(rule, limit, at), IsNull(Subquery(done.values("pk")[:1]), True), period=limit.period
    )
    if tier := limit.tier or rule.tier:
        counters = counters.filter(account__tier=tier)
    last = 0
    while True:
        piece = list(counters.filter(pk__gt=last).order_by("pk")[:PIECE])
        for batch in steps(piece):
            yield _dues(rule, [(limit, counter) for counter in batch], at, using)
        if len(piece) < PIECE:
            return
        last = piece[-1].pk


def _of_some(rule: WarningRule, limits: Sequence[LimitRule], at: datetime, using: str) -> list[Due]:
    """Limits for one user or one pool each. Members are counted on the pool's account as well."""
    users = {limit.user_id for limit in limits if limit.user_id is not None}
    pools = {limit.pool_id for limit in limits if limit.pool_id is not None}
    counters = _counters(rule, using).filter(
        Q(account__user__in=users) | Q(account__pool__in=pools), period__in={limit.period for limit in limits}
    )
    if rule.tier:
        counters = counters.filter(account__tier=rule.tier)
    found: dict[tuple[str, str], LimitCounter] = {}
    for counter in counters:
        found[_target(counter), counter.period] = counter
    pairs = [
        (limit, found[limit.target, limit.period])
        for limit in limits
        if (limit.target, limit.period) in found and _reaches(rule, limit, found[limit.target, limit.period], at)
    ]
    return _dues(rule, pairs, at, using)


def _counters(rule: WarningRule, using: str) -> QuerySet[LimitCounter]:
    """Of those who can be told."""
    counters = LimitCounter.objects.using(using).select_related("account")
    if rule.tells_admins:
        return counters.filter(Q(account__user__isnull=False) | Q(account__pool__isnull=False))
    return counters.filter(account__user__isnull=False)


def _target(counter: LimitCounter) -> str:
    account = counter.account
    return f"user:{account.user_id}" if account.user_id is not None else f"pool:{account.pool_id}"


def _period(limit: LimitRule) -> str:
    """The window is known by its start: what fired before that fired in an earlier one."""
    return f"limit {limit.pk}"


def _least(rule: WarningRule, limit: LimitRule) -> int:
    return max(-(-limit.limit * (rule.percent or 0) // 100), 1)


def _used(limit: LimitRule) -> str:
    return "tokens" if limit.metric == LimitMetric.TOKENS else "requests"


def _is_used(rule: WarningRule, limit: LimitRule, at: datetime) -> Q:
    """For the database: so much is used in the window of that moment, or the limit was reached in one just over."""
    window = Q(ends_at__gt=at)
    if windows.is_rolling(limit.period):
        # The counter is of the last use; from then on less and less of it is in the window.
        window = Q(starts_at__gt=at - 2 * windows.length_of(limit.period))
    elif limit.period == "total":
        window = Q()
    used = window & Q(**{f"{_used(limit)}__gte": _least(rule, limit)})
    return used | Q(reached=limit, reached_at__gt=at - NEWS) if rule.percent == 100 else used


def _reaches(rule: WarningRule, limit: LimitRule, counter: LimitCounter, at: datetime) -> bool:
    """The same for a counter that was read."""
    if rule.percent == 100 and counter.reached_id == limit.pk and counter.reached_at and counter.reached_at > at - NEWS:
        return True
    if windows.is_rolling(limit.period):
        is_live = counter.starts_at > at - 2 * windows.length_of(limit.period)
    else:
        is_live = counter.ends_at is None or counter.ends_at > at
    return is_live and getattr(counter, _used(limit)) >= _least(rule, limit)


def _dues(rule: WarningRule, pairs: Sequence[Pair], at: datetime, using: str) -> list[Due]:
    if not pairs:
        return []
    accounts = {counter.account_id: counter.account for _limit, counter in pairs}
    states = states_of([rule], list(accounts.values()), sorted({_period(limit) for limit, _counter in pairs}), using)
    chosen = _Chosen(accounts, using)
    found = []
    for limit, counter in pairs:
        account = counter.account
        state = states.get((rule.pk, account.pk, _period(limit)))
        rolls = windows.length_of(limit.period) if windows.is_rolling(limit.period) else None
        if state is not None and state.fired_at >= (counter.starts_at if rolls is None else at - rolls):
            continue
        if not chosen.counts(limit, account, at):
            continue
        ends_at = counter.ends_at if rolls is None else at + rolls
        found.append(
            Due(
                rule=rule,
                account=account,
                period=_period(limit),
                ends_at=None if ends_at is None else ends_at + NEWS,
                facts={
                    "limit": limit.limit,
                    "used": getattr(counter, _used(limit)),
                    "metric": limit.metric,
                    "window": limit.window,
                    "model": limit.model,
                    "feature": limit.feature,
                    "anew_at": counter.ends_at.isoformat() if counter.ends_at and rolls is None else None,
                },
                seen=None if state is None else state.fired_at,
            )
        )
    return found


class _Chosen:
    """The limits that fall upon the accounts of a batch, read in few queries."""

    def __init__(self, accounts: dict[int, Any], using: str) -> None:
        users = [account.user_id for account in accounts.values() if account.user_id is not None]
        members = PoolMember.objects.using(using).filter(user__in=users, pool__is_active=True)
        self.pools = dict(members.values_list("user", "pool"))
        targets = {target for account in accounts.values() for target in self._targets(account)}
        self.by_target: dict[str, list[LimitRule]] = {}
        for step in steps(sorted(targets)):
            for limit in limit_rules.for_targets(list(step), using):
                self.by_target.setdefault(limit.target, []).append(limit)

    def counts(self, limit: LimitRule, account: Any, at: datetime) -> bool:
        """Whether this limit is the one that a use of its model and feature by this account is held to."""
        found = [one for target in self._targets(account) for one in self.by_target.get(target, ())]
        return limit in limit_rules.winners(found, as_of=at, model=limit.model, feature=limit.feature)

    def _targets(self, account: Any) -> list[str]:
        pool = account.pool_id if account.user_id is None else self.pools.get(account.user_id)
        return limit_rules.targets(user=account.user_id, pool=pool, tier=account.tier)
