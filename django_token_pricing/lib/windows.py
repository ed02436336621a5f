"""Windows of limits: which stretch of time belongs to a moment.

A period is written as text: “day” is the calendar's in the site's zone, “day@Europe/Berlin” in a zone of its own,
“day~” the last 24 hours whatever the clock says, “total” all time, and "" has no window at all. Successive windows of
a calendar period share their ends, so that each moment is in one window and in one alone, whatever the clocks do.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from django_token_pricing.lib.periods import start_of_day

# Where all time begins.
BEGINNING = datetime(2000, 1, 1, tzinfo=timezone.utc)
LENGTHS = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}


def period_of(window: str, alignment: str = "calendar", time_zone: str = "") -> str:
    """How the period of a limit is written; "" where it is counted over no time: per request, at the same time."""
    if window not in LENGTHS:
        return window if window == "total" else ""
    if alignment == "rolling":
        return f"{window}~"
    return f"{window}@{time_zone}" if time_zone else window


def is_rolling(period: str) -> bool:
    return period.endswith("~")


def length_of(period: str) -> timedelta:
    """How long a rolling period is: a week has 7 days, a month 30, each of 24 hours."""
    return LENGTHS[period.rstrip("~")]


def bounds(period: str, moment: datetime, site_zone: tzinfo) -> tuple[datetime, datetime | None]:
    """The half-open window of a moment, in UTC: where it begins, and where it ends (None: it has no end of its own).

    Weeks begin on Monday. Hours and minutes are counted from midnight, and so are those of the clock except for the
    rest of a day on which the clocks change by a part of an hour.
    """
    moment = moment.astimezone(timezone.utc)
    if period == "total":
        return BEGINNING, None
    if is_rolling(period):
        return moment - length_of(period), None
    window, _at, name = period.partition("@")
    zone = _zone(name) if name else site_zone
    starts_at, ends_at = _days("day" if window in ("minute", "hour") else window, moment, zone)
    if window in ("minute", "hour"):
        length = LENGTHS[window]
        starts_at += (moment - starts_at) // length * length
        ends_at = min(starts_at + length, ends_at)
    return starts_at, ends_at


def _days(window: str, moment: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    first = _first_day(window, moment.astimezone(zone).date())
    starts_at, ends_at = _start(first, zone), _start(_next_first(window, first), zone)
    # Clocks that are put back or forward over midnight show a date before it begins, or after it has ended.
    if moment >= ends_at:
        first = _next_first(window, first)
        return ends_at, _start(_next_first(window, first), zone)
    if moment < starts_at:
        return _start(_first_day(window, first - timedelta(days=1)), zone), starts_at
    return starts_at, ends_at


def _start(day: date, zone: tzinfo) -> datetime:
    """Its first midnight where there are two; where there is none, the moment at which the clock leaps over it."""
    return start_of_day(day, zone).astimezone(timezone.utc)


def _first_day(window: str, day: date) -> date:
    if window == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if window == "month" else day


def _next_first(window: str, first: date) -> date:
    if window == "month":
        return (first + timedelta(days=31)).replace(day=1)
    return first + timedelta(days=7 if window == "week" else 1)


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
