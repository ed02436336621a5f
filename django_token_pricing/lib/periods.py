"""Half-open periods in a named zone."""

from __future__ import annotations

from datetime import date, datetime, time, tzinfo


def start_of_day(day: date, zone: tzinfo) -> datetime:
    """Its first moment; that of the next day is the exclusive end of this one."""
    return datetime.combine(day, time.min, tzinfo=zone)


def month_of(moment: datetime, zone: tzinfo) -> date:
    """The first day of the calendar month in which the moment falls."""
    return moment.astimezone(zone).date().replace(day=1)
