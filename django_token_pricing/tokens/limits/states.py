"""Reading: the limits that an owner falls under, and what is left of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Q, Sum
from django.utils import timezone

from django_token_pricing.choices import LimitCounting, LimitScope, LimitWindow
from django_token_pricing.lib import windows
from django_token_pricing.models import LimitCounter, LimitRule, PoolMember, TokenAccount, TokenHold
from django_token_pricing.tokens import arguments, booking
from django_token_pricing.tokens.limits import counters, log, rules
from django_token_pricing.tokens.limits.log import Used


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """One limit at a moment, in its metric.

    used: in the window, net of refunds; of a pool by all its members. held: by open holds, counted in full. left:
    before the limit is reached, 0 at least; grace is not in it. starts_at and resets_at: of the window; a rolling one
    does not end, and a limit per request or at the same time has none.
    """

    rule: LimitRule
    metric: str
    window: str
    limit: int
    used: int
    held: int
    left: int
    starts_at: datetime | None
    resets_at: datetime | None
    mode: str


def limits(owner: Any, *, as_of: datetime | None = None) -> list[LimitState]:
    """The limits that some use of the owner would fall under, now or at a past moment, in few queries.

    Those that are counted exactly; one that is less specific than another for every use is left out. Rules, pool and
    tier are those of today. Raises UnknownOwner, InvalidMoment.
    """
    arguments.moment("as_of", as_of)
    using = booking.database()
    if isinstance(owner, TokenAccount) and owner.is_closed:
        return []
    whose = arguments.owner(owner)
    account = TokenAccount.objects.using(using).filter(**whose.lookup).first()
    group = None
    if whose.user is not None:
        membership = PoolMember.objects.using(using).filter(user=whose.user, pool__is_active=True)
        group = TokenAccount.objects.using(using).filter(pool__in=membership.values("pool")).first()
    pool = whose.pool if group is None else group.pool_id
    tier = "" if account is None else account.tier
    now = booking.clock(using) if as_of is None else as_of
    found = rules.for_targets(rules.targets(user=whose.user, pool=pool, tier=tier), using)
    current = [rule for rule in found if rules.is_current(rule, now)]
    asked = [rule for rule in current if rule.counting == LimitCounting.LEDGER and not _is_idle(rule, current)]
    reader = _Reader([of for of in (account, group) if of is not None], now, as_of is not None, using)
    states = []
    for rule in sorted(asked, key=lambda rule: (*(-part for part in rules.rank(rule)), rule.metric, rule.pk)):
        of = group if rule.scope == LimitScope.POOL and group is not None else account
        states.append(reader.state(rule, of))
    return states


def _is_idle(rule: LimitRule, others: Iterable[LimitRule]) -> bool:
    """Whether another rule is more specific for every use that this one fits."""
    return any(
        (other.metric, other.window) == (rule.metric, rule.window)
        and rules.rank(other) > rules.rank(rule)
        and other.model in ("", rule.model)
        and other.feature in ("", rule.feature)
        for other in others
    )


class _Reader:
    """Reads each counter, window and sum of holds once."""

    def __init__(self, accounts: list[TokenAccount], now: datetime, is_past: bool, using: str) -> None:
        self.now, self.is_past, self.using = now, is_past, using
        self.used: dict[tuple[int, str], Used] = {}
        self.held: dict[int, Used] = {}
        rows = LimitCounter.objects.using(using).filter(account__in=accounts)
        self.counters = {} if is_past else {(row.account_id, row.period): row for row in rows}

    def state(self, rule: LimitRule, account: TokenAccount | None) -> LimitState:
        starts_at = ends_at = None
        used, held = Used(), Used()
        if rule.period:
            starts_at, ends_at = windows.bounds(rule.period, self.now, timezone.get_default_timezone())
        if account is not None and rule.window != LimitWindow.REQUEST:
            held = self._held(account.pk)
            if starts_at is not None:
                used = self._used(account.pk, rule.period, starts_at, ends_at)
        counted, reserved = max(used.of(rule.metric), 0), held.of(rule.metric)
        return LimitState(
            rule=rule,
            metric=rule.metric,
            window=rule.window,
            limit=rule.limit,
            used=counted,
            held=reserved,
            left=max(rule.limit - counted - reserved, 0),
            starts_at=starts_at,
            resets_at=ends_at,
            mode=rule.mode,
        )

    def _used(self, account: int, period: str, starts_at: datetime, ends_at: datetime | None) -> Used:
        place = account, period
        if place not in self.used:
            if self.is_past:
                self.used[place] = log.used(account, starts_at, self.now + counters.TICK, self.using)
            else:
                counter = self.counters.get(place)
                self.used[place] = counters.seen(counter, account, period, starts_at, ends_at, self.now, self.using)
        return self.used[place]

    def _held(self, account: int) -> Used:
        if account not in self.held:
            if self.is_past:
                holds = TokenHold.objects.using(self.using).filter(
                    Q(account=account) | Q(member_of=account), booked_at__lte=self.now, expires_at__gt=self.now
                )
                sums = holds.filter(Q(closed_at=None) | Q(closed_at__gt=self.now)).aggregate(
                    tokens=Sum("amount"), n=Count("pk")
                )
                self.held[account] = Used(sums["tokens"] or 0, sums["n"])
            else:
                self.held[account] = log.held(account, self.now, self.using)
        return self.held[account]
