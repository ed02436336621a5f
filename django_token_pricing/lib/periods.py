"""Half-open periods in a named zone, true to the calendar of those who live there.

The idea to know: a boundary is found from the anchor's wall time, never from the boundary before. So the 31st comes
back after February, the 29th of February after three years, and ten o'clock stays ten o'clock over daylight saving.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

MICROSECOND = timedelta(microseconds=1)


def start_of_day(day: date, zone: tzinfo) -> datetime:
    """Its first moment; that of the next day is the exclusive end of this one."""
    return datetime.combine(day, time.min, tzinfo=zone)


def month_of(moment: datetime, zone: tzinfo) -> date:
    """The first day of the calendar month in which the moment falls."""
    return moment.astimezone(zone).date().replace(day=1)


def zone_of(name: str, default: tzinfo) -> tzinfo:
    """The zone of that name; the default where there is no such."""
    try:
        return ZoneInfo(name) if name else default
    except (KeyError, ValueError, OSError):
        # Unknown, no proper name, or the name of a folder of zones.
        return default


def moment_of(wall: datetime, zone: tzinfo) -> datetime:
    """When the clocks of the zone show that time: the first time they do, or the end of the gap that leaves it out."""
    moment = wall.replace(tzinfo=zone, fold=0).astimezone(timezone.utc)
    if moment.astimezone(zone).replace(tzinfo=None) == wall:
        return moment
    # Clocks jumped over it: the jump lies between what the offset after it and the one before it make of the time.
    before, after = wall.replace(tzinfo=zone, fold=1).astimezone(timezone.utc), moment
    offset = after.astimezone(zone).utcoffset()
    while after - before > MICROSECOND:
        middle = before + (after - before) / 2
        if middle.astimezone(zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after


def share(amount: int, part: timedelta, whole: timedelta) -> int:
    """The part of the amount that belongs to that part of the time, rounded half up."""
    some, all_of_it = part // MICROSECOND, whole // MICROSECOND
    return (2 * amount * some + all_of_it) // (2 * all_of_it)


@dataclass(frozen=True, slots=True)
class Period:
    """From its start until before its end."""

    number: int
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Calendar:
    """Periods without gap or overlap from the anchor on; number 0 holds the anchor.

    `unit` is day, month or year, `count` how many of them a period has. Aligned periods start on the first of a month
    (months are counted from January) or on the first of January, at midnight; the first of them starts at the anchor.
    """

    anchor: datetime
    zone: tzinfo
    unit: str
    count: int
    is_aligned: bool = False

    def period(self, number: int) -> Period:
        return Period(number, self.starts(number), self.starts(number + 1))

    def starts(self, number: int) -> datetime:
        """When the period of that number starts, in UTC. Raises ValueError or OverflowError beyond the calendar."""
        if number == 0:
            return self.anchor.astimezone(timezone.utc)
        wall = self._first_wall()
        steps = number * self.count
        if self.unit == "day":
            return moment_of(wall + timedelta(days=steps), self.zone)
        months = wall.year * 12 + wall.month - 1 + (steps if self.unit == "month" else 12 * steps)
        year, month = divmod(months, 12)
        day = min(wall.day, monthrange(year, month + 1)[1])
        return moment_of(wall.replace(year=year, month=month + 1, day=day), self.zone)

    def number_of(self, moment: datetime) -> int:
        """The number of the period in which the moment falls; below 0 before the anchor."""
        wall, first = moment.astimezone(self.zone).replace(tzinfo=None), self._first_wall()
        if self.unit == "day":
            passed = (wall - first).days
        else:
            passed = (wall.year - first.year) * 12 + wall.month - first.month
            passed //= 1 if self.unit == "month" else 12
        number = passed // self.count
        while self.starts(number) > moment:
            number -= 1
        while self.starts(number + 1) <= moment:
            number += 1
        return number

    def holding(self, moment: datetime) -> Period:
        """The period in which the moment falls."""
        return self.period(self.number_of(moment))

    def between(self, after: int, upto: int) -> Iterator[Period]:
        """The periods above one number and up to another. A day that a zone left out has none."""
        for number in range(after + 1, upto + 1):
            period = self.period(number)
            if period.starts_at < period.ends_at:
                yield period

    def _first_wall(self) -> datetime:
        wall = self.anchor.astimezone(self.zone).replace(tzinfo=None, fold=0)
        if not self.is_aligned:
            return wall
        month = 1 if self.unit == "year" else (wall.month - 1) // self.count * self.count + 1
        return wall.replace(month=month, day=1, hour=0, minute=0, second=0, microsecond=0)
