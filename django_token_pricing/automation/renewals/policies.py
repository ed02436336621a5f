"""What a policy must not say, and what it comes to: a year of a subscriber who does not exist."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from django.utils import timezone
from django.utils.translation import gettext as _

from django_token_pricing.automation.renewals import decisions
from django_token_pricing.choices import GrantLasts, PeriodUnit, RenewalAnchor, Rollover
from django_token_pricing.lib.periods import Period, zone_of
from django_token_pricing.models import RenewalPolicy

MONTHS = (1, 2, 3, 4, 6, 12)


def check(policy: RenewalPolicy) -> dict[str, str]:
    """What contradicts itself, by the field to mend; empty where nothing does."""
    return dict(_contradictions(policy))


def _contradictions(policy: RenewalPolicy) -> Iterator[tuple[str, str]]:
    if policy.count < 1:
        yield "count", _("A period lasts at least one day, month or year.")
    if policy.anchor == RenewalAnchor.CALENDAR and policy.unit == PeriodUnit.DAY:
        yield "anchor", _("Periods of days are counted from the start of the subscription.")
    elif policy.anchor == RenewalAnchor.CALENDAR and policy.unit == PeriodUnit.MONTH and policy.count not in MONTHS:
        yield "count", _("By the calendar a period has 1, 2, 3, 4, 6 or 12 months, so that it fits into a year.")
    if policy.lasts == GrantLasts.DAYS and not policy.lasts_days:
        yield "lasts_days", _("Say how many days the tokens last.")
    if policy.lasts != GrantLasts.DAYS and policy.lasts_days:
        yield "lasts_days", _("Days say something only where tokens last a number of days: leave it empty.")
    yield from _carrying(policy)


def _carrying(policy: RenewalPolicy) -> Iterator[tuple[str, str]]:
    if policy.rollover == Rollover.PERCENT and not policy.rollover_percent:
        yield "rollover_percent", _("Say which share is carried over.")
    if policy.rollover != Rollover.PERCENT and policy.rollover_percent:
        yield "rollover_percent", _("A share says something only where a share is carried over: leave it empty.")
    if policy.rollover_cap and policy.tokens and policy.rollover_cap > policy.tokens:
        yield "rollover_cap", _("No more is carried over than a period gives: the cap is above the tokens a period.")
    if policy.rollover != Rollover.NONE:
        if policy.lasts != GrantLasts.PERIOD:
            yield "rollover", _("What is carried over is left when a period ends: tokens have to last until then.")
        return
    for name in ("rollover_cap", "rollover_days", "rollover_periods"):
        if getattr(policy, name):
            yield name, _("Nothing is carried over: leave it empty.")


@dataclass(frozen=True, slots=True)
class PeriodPreview:
    """A period of the sample: what it gives, what came over from the one before, and what is there at its start."""

    period: Period
    days: int
    granted: int
    carried: int
    total: int
    used: int
    expires_at: datetime | None
    carried_expires_at: datetime | None


@dataclass(slots=True)
class _Lot:
    left: int
    expires_at: datetime | None
    times: int


def preview(
    policy: RenewalPolicy,
    *,
    anchor_at: datetime,
    time_zone: str = "",
    quantity: int = 1,
    used_percent: int = 50,
    periods: int = 12,
) -> list[PeriodPreview]:
    """The first periods of a subscriber who starts at `anchor_at` and spends that share of what is there in each.

    Nothing is read or written. Raises ValueError or OverflowError for periods beyond the calendar.
    """
    zone = zone_of(time_zone, timezone.get_default_timezone())
    days = decisions.calendar(policy, anchor_at, zone)
    tokens = decisions.worth(policy, quantity)
    lots: list[_Lot] = []
    shown: list[PeriodPreview] = []
    for period in islice(days.between(-1, periods * 2), periods):
        carried, carried_until = _carried(policy, lots, period)
        lots = [lot for lot in lots if lot.expires_at is None or lot.expires_at > period.starts_at]
        expires_at = decisions.lasting(policy, period.starts_at, period.ends_at)
        came = sum(lot.left for lot in carried)
        lots += [*carried, _Lot(tokens, expires_at, 0)]
        total = sum(lot.left for lot in lots)
        used = total * used_percent // 100
        _spend(lots, used)
        length = (period.ends_at.astimezone(zone).date() - period.starts_at.astimezone(zone).date()).days
        shown.append(
            PeriodPreview(
                period=period,
                days=length,
                granted=tokens,
                carried=came,
                total=total,
                used=used,
                expires_at=expires_at,
                carried_expires_at=carried_until if carried else None,
            )
        )
    return shown


def _carried(policy: RenewalPolicy, lots: list[_Lot], period: Period) -> tuple[list[_Lot], datetime]:
    """What goes on into the period of the lots that end where it starts, those carried least first."""
    until = period.ends_at
    if policy.rollover_days is not None:
        until = period.starts_at + timedelta(days=policy.rollover_days)
    if policy.rollover == Rollover.NONE:
        return [], until
    percent = policy.rollover_percent or 100
    room, carried = policy.rollover_cap, []
    for lot in sorted(lots, key=lambda lot: lot.times):
        if lot.expires_at != period.starts_at or lot.times >= (policy.rollover_periods or lot.times + 1):
            continue
        amount = lot.left * percent // 100
        if room is not None:
            amount = min(amount, room)
            room -= amount
        if amount:
            carried.append(_Lot(amount, until, lot.times + 1))
    return carried, until


def _spend(lots: list[_Lot], amount: int) -> None:
    """In the order in which lots pay."""
    for lot in sorted(lots, key=lambda lot: (lot.expires_at is None, lot.expires_at)):
        share = min(lot.left, amount)
        lot.left -= share
        amount -= share
