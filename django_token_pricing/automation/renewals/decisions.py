"""What is due for one subscription: plain decisions from what the host says, how it stands, and its policy.

Nothing is read or written here. `decide` moves the standing on and answers the deeds that go with it; both are written
in one transaction or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from typing import Any

from django.utils.translation import gettext as _

from django_token_pricing.choices import (
    GrantLasts,
    MissedPeriods,
    OnCancel,
    OnDowngrade,
    OnPastDue,
    OnUpgrade,
    PeriodOutcome,
    RenewalAnchor,
    RenewalState,
    Rollover,
    SubscriptionStatus,
)
from django_token_pricing.exceptions import NotRenewable
from django_token_pricing.lib.periods import Calendar, Period, share, zone_of
from django_token_pricing.models import RenewalPolicy

# What one visit decides: who was away for longer is taken up again at once.
MOST_PERIODS = 100
FIRST_PAUSE = timedelta(minutes=5)
LONGEST_PAUSE = timedelta(days=1)
A_SHIFT = timedelta(hours=36)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the mirror says of a subscription."""

    subscription: int
    user: Any
    code: str
    is_live: bool
    is_past_due: bool
    cancel_at: datetime | None
    starts_at: datetime | None
    anchor_at: datetime | None
    time_zone: str
    quantity: int

    def is_over(self, now: datetime) -> bool:
        return not self.is_live or (self.cancel_at is not None and self.cancel_at <= now)


@dataclass(slots=True)
class Standing:
    """How a renewal stands: the columns of its row, and its policy. A million of these are no model instances."""

    subscription_id: int
    policy_id: int | None
    state: str
    anchor_at: datetime | None
    host_anchor_at: datetime | None
    time_zone: str
    quantity: int
    number: int
    period_starts_at: datetime | None
    period_ends_at: datetime | None
    granted: int
    changes: int
    due_at: datetime | None
    tries: int
    problem: str
    policy: RenewalPolicy | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """Tokens to give."""

    tokens: int
    starts_at: datetime
    expires_at: datetime | None
    priority: int
    key: str
    period_starts_at: datetime


@dataclass(frozen=True, slots=True)
class Carrying:
    """What goes on of the lots of a period that has ended."""

    period_starts_at: datetime
    ended_at: datetime
    times: int
    policy: RenewalPolicy
    into: Period

    @property
    def expires_at(self) -> datetime:
        days = self.policy.rollover_days
        return self.into.ends_at if days is None else self.into.starts_at + timedelta(days=days)


@dataclass(frozen=True, slots=True)
class Decided:
    """A period, and whether its tokens are granted."""

    period: Period
    policy: RenewalPolicy
    outcome: PeriodOutcome
    tokens: int = 0


@dataclass(slots=True)
class Deeds:
    """What is to be done. `take_back` is from the present period's lots, as far as they are unspent."""

    granted: list[Granted] = field(default_factory=list)
    decided: list[Decided] = field(default_factory=list)
    carrying: Carrying | None = None
    # The start of a period that was cut short, and its new end.
    cut: tuple[datetime, datetime] | None = None
    take_back: int = 0
    is_voided: bool = False

    def __bool__(self) -> bool:
        return bool(self.granted or self.decided or self.carrying or self.take_back or self.is_voided)


def decide(standing: Standing, facts: Facts, policy: RenewalPolicy | None, now: datetime, site: tzinfo) -> Deeds:
    """What is due now. The standing is moved on. Raises NotRenewable, and then it must not be written."""
    deeds = Deeds()
    if facts.is_over(now):
        _end(standing, deeds, is_cancelled=True)
    elif not facts.code:
        raise NotRenewable(subscription=facts.subscription, detail=_("it names neither a tier nor a plan."))
    elif policy is None or (facts.user is None and standing.period_ends_at is not None):
        # No policy, or the user was deleted.
        _end(standing, deeds, is_cancelled=False)
    elif facts.user is None:
        raise NotRenewable(subscription=facts.subscription, detail=_("it has no user."))
    else:
        try:
            _go_on(standing, facts, policy, now, site, deeds)
        except (ValueError, OverflowError):
            detail = _("its periods lie beyond the calendar.")
            raise NotRenewable(subscription=facts.subscription, detail=detail) from None
    standing.tries, standing.problem = 0, ""
    return deeds


def failed(standing: Standing, problem: str, now: datetime) -> None:
    """Note why it could not be renewed, and when that is tried again."""
    standing.state, standing.problem = RenewalState.FAILED.value, problem
    standing.due_at = now + min(FIRST_PAUSE * 2 ** min(standing.tries, 16), LONGEST_PAUSE)
    standing.tries = min(standing.tries + 1, 32_767)


def worth(policy: RenewalPolicy, quantity: int) -> int:
    """What a whole period gives."""
    return policy.tokens * quantity if policy.is_per_seat else policy.tokens


def calendar(policy: RenewalPolicy, anchor: datetime, zone: tzinfo) -> Calendar:
    return Calendar(anchor, zone, policy.unit, policy.count, policy.anchor == RenewalAnchor.CALENDAR)


def lasting(policy: RenewalPolicy, starts_at: datetime, ends_at: datetime) -> datetime | None:
    """When tokens end that are given at `starts_at` for a period until `ends_at`."""
    if policy.lasts == GrantLasts.PERIOD:
        return ends_at
    return starts_at + timedelta(days=policy.lasts_days or 0) if policy.lasts == GrantLasts.DAYS else None


def _end(standing: Standing, deeds: Deeds, *, is_cancelled: bool) -> None:
    if is_cancelled and standing.policy is not None and standing.state != RenewalState.ENDED:
        deeds.is_voided = standing.policy.on_cancel == OnCancel.EXPIRE
    standing.state, standing.due_at = RenewalState.ENDED.value, None


def _go_on(standing: Standing, facts: Facts, policy: RenewalPolicy, now: datetime, site: tzinfo, deeds: Deeds) -> None:
    anchor = facts.anchor_at or standing.anchor_at or facts.starts_at
    if anchor is None:
        raise NotRenewable(subscription=facts.subscription, detail=_("its host names no start of it."))
    if facts.anchor_at is None or facts.anchor_at == standing.host_anchor_at:
        # Counted anew from the end of a period, maybe, since the host named its anchor.
        anchor = standing.anchor_at or anchor
    days = calendar(policy, anchor, zone_of(facts.time_zone, site))
    periods, days = _due(standing, facts, policy, days, now)
    if not periods and standing.period_ends_at is not None and standing.state != RenewalState.ENDED:
        _change(standing, facts, policy, now, deeds)
    if periods and facts.is_past_due and policy.on_past_due == OnPastDue.WAIT:
        standing.policy = standing.policy or policy
        standing.policy_id = standing.policy.pk
        standing.state, standing.due_at = RenewalState.WAITING.value, None
        return
    was_over = standing.state == RenewalState.ENDED
    standing.policy, standing.policy_id = policy, policy.pk
    standing.quantity, standing.time_zone = facts.quantity, facts.time_zone
    standing.anchor_at, standing.host_anchor_at = days.anchor, facts.anchor_at
    if not periods:
        standing.state = RenewalState.ACTIVE.value
        standing.due_at = standing.period_ends_at or anchor
        return
    _renew(standing, facts, policy, periods, now, deeds, was_over=was_over)


def _due(
    standing: Standing, facts: Facts, policy: RenewalPolicy, days: Calendar, now: datetime
) -> tuple[list[Period], Calendar]:
    """The periods that have begun and are not decided, and the calendar by which they run."""
    end = standing.period_ends_at
    if end is None:
        if days.anchor > now:
            return [], days
        present = days.number_of(now)
        return _upto(days, present if not _lasts_on(policy) else _first(policy, days, present), present, policy), days
    is_new_anchor = facts.anchor_at is not None and facts.anchor_at != standing.host_anchor_at
    if is_new_anchor and standing.host_anchor_at is not None and days.anchor <= now < end:
        # Counted from a new day on, as after a trial: the period that runs is cut short by the one that holds now.
        present = days.number_of(now)
        period = days.period(present)
        is_cut = standing.period_starts_at is not None and period.starts_at > standing.period_starts_at
        return ([period] if is_cut else []), days
    if end > now:
        return [], days
    first, days = _following(standing, days, end)
    if now < first.ends_at:
        return [first], days
    present = days.number_of(now)
    rest = _upto(days, first.number + 1, present, policy)
    return ([first, *rest] if len(rest) < MOST_PERIODS or _lasts_on(policy) else rest)[:MOST_PERIODS], days


def _lasts_on(policy: RenewalPolicy) -> bool:
    """Whether the tokens of a period that has passed can be of use still."""
    return policy.missed == MissedPeriods.CATCH_UP and policy.lasts != GrantLasts.PERIOD


def _first(policy: RenewalPolicy, days: Calendar, present: int) -> int:
    """The first period from the policy's start on; the present one at the latest."""
    if policy.starts_at <= days.anchor:
        return 0
    number = days.number_of(policy.starts_at)
    return min(present, number if days.starts(number) >= policy.starts_at else number + 1)


def _upto(days: Calendar, first: int, present: int, policy: RenewalPolicy) -> list[Period]:
    """At most so many as one visit decides: the first where each gives something, else the last."""
    if _lasts_on(policy):
        return list(days.between(first - 1, min(present, first + MOST_PERIODS - 1)))
    return list(days.between(max(first, present - MOST_PERIODS + 1) - 1, present))


def _following(standing: Standing, days: Calendar, end: datetime) -> tuple[Period, Calendar]:
    """The period that begins where the last one ended.

    Where the calendar has no boundary there, for zone, anchor or policy have changed, it ends at the boundary that
    makes its length nearest to a whole one. Where periods have become much longer or shorter, they are counted anew
    from that end.
    """
    if days.starts(standing.number + 1) == end:
        following = days.period(standing.number + 1)
        if following.starts_at < following.ends_at:
            return following, days
    found = days.holding(end)
    if found.starts_at == end:
        return found, days
    length = found.ends_at - found.starts_at
    before = end - (standing.period_starts_at or found.starts_at)
    is_shift = min(end - found.starts_at, found.ends_at - end) <= A_SHIFT
    if not days.is_aligned and not is_shift and not length <= 2 * before <= 4 * length:
        days = replace(days, anchor=end)
        return days.period(0), days
    if 2 * (found.ends_at - end) >= length:
        return Period(found.number, end, found.ends_at), days
    return Period(found.number + 1, end, days.starts(found.number + 2)), days


def _renew(
    standing: Standing,
    facts: Facts,
    policy: RenewalPolicy,
    periods: list[Period],
    now: datetime,
    deeds: Deeds,
    *,
    was_over: bool,
) -> None:
    tokens = worth(policy, facts.quantity)
    last = periods[-1]
    for period in periods:
        expires_at = lasting(policy, period.starts_at, period.ends_at)
        is_wanted = period.ends_at > now or (policy.missed == MissedPeriods.CATCH_UP and not was_over)
        is_of_use = expires_at is None or expires_at > now
        if not tokens or period.starts_at < policy.starts_at or not is_wanted or not is_of_use:
            deeds.decided.append(Decided(period, policy, PeriodOutcome.SKIPPED))
            continue
        deeds.decided.append(Decided(period, policy, PeriodOutcome.GRANTED, tokens))
        key = f"renewal:{facts.subscription}:{period.starts_at.isoformat()}"
        deeds.granted.append(Granted(tokens, period.starts_at, expires_at, policy.priority, key, period.starts_at))
    if policy.rollover != Rollover.NONE and not was_over and standing.period_ends_at and standing.period_starts_at:
        carrying = Carrying(standing.period_starts_at, standing.period_ends_at, len(periods), policy, last)
        if policy.rollover_days is not None:
            # Carried tokens with an end of their own are carried once, into the first period.
            carrying = replace(carrying, times=1, into=periods[0])
        deeds.carrying = carrying if carrying.expires_at > now else None
    if standing.period_starts_at and standing.period_ends_at and periods[0].starts_at < standing.period_ends_at:
        deeds.cut = standing.period_starts_at, periods[0].starts_at
    standing.state, standing.number = RenewalState.ACTIVE.value, last.number
    standing.period_starts_at, standing.period_ends_at = last.starts_at, last.ends_at
    standing.granted = tokens if deeds.decided[-1].outcome == PeriodOutcome.GRANTED else 0
    standing.changes = 0
    standing.due_at = last.ends_at


def _change(standing: Standing, facts: Facts, policy: RenewalPolicy, now: datetime, deeds: Deeds) -> None:
    """Plan or quantity changed within the period.

    `granted` is what the period has been brought to, so that going up and down gives nothing twice. A period that was
    skipped gives nothing.
    """
    start, end = standing.period_starts_at, standing.period_ends_at
    is_same = standing.policy_id == policy.pk and standing.quantity == facts.quantity
    if is_same or not standing.granted or start is None or end is None:
        return
    wanted = worth(policy, facts.quantity)
    difference = wanted - standing.granted
    part = share(abs(difference), end - now, end - start)
    if difference > 0 and policy.on_upgrade != OnUpgrade.WAIT:
        standing.changes += 1
        standing.granted = wanted
        tokens = part if policy.on_upgrade == OnUpgrade.PRORATED else difference
        if tokens:
            key = f"renewal:{facts.subscription}:{start.isoformat()}:{standing.changes}"
            expires_at = lasting(policy, now, end)
            deeds.granted.append(Granted(tokens, now, expires_at, policy.priority, key, start))
    elif difference < 0 and policy.on_downgrade == OnDowngrade.PRORATED:
        standing.changes += 1
        deeds.take_back = part


def taken_back(standing: Standing, policy: RenewalPolicy, wanted: int, taken: int) -> None:
    """After a downgrade: what was spent already stays counted, so that the next upgrade does not give it again."""
    if wanted:
        standing.granted -= (standing.granted - worth(policy, standing.quantity)) * taken // wanted


def facts_of(row: dict[str, Any], live: frozenset[str]) -> Facts:
    """Of a mirror's row."""
    return Facts(
        subscription=row["pk"],
        user=row["user_id"],
        code=row["tier"] or row["plan_code"],
        is_live=row["status"] in live and row["gone_at"] is None,
        is_past_due=row["status"] == SubscriptionStatus.PAST_DUE,
        cancel_at=row["cancel_at"],
        starts_at=row["period_starts_at"],
        anchor_at=row["anchor_at"],
        time_zone=row["time_zone"],
        quantity=row["quantity"],
    )
