"""What was used, by day and hour, by model, feature and tier, read from the roll-ups and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, cast

from django.db.models import Case, CharField, DateField, F, Q, QuerySet, Sum, Value, When
from django.db.models.functions import Cast, TruncMonth, TruncWeek

from django_token_pricing.analytics.currencies import EXACT
from django_token_pricing.analytics.periods import ALL, Period, Slice, zone
from django_token_pricing.models import UsageDay, UsageHour

DIMENSIONS = ("model", "feature", "tier")
# Series of a chart; what is not of the largest is summed as one more.
MOST_SERIES = 5
# Names in the table beside a chart.
MOST_RANKED = 1_000
# Of a long period, the days of which hours are read.
HEAT_DAYS = 90
# Up to so many days each unit gives a chart that can be read.
MOST_DAYS_OF = {"hour": 7, "day": 190, "week": 1_300, "month": 1_900}
LEAST_DAYS_OF = {"hour": 1, "day": 1, "week": 7, "month": 28}
HOUR = timedelta(hours=1)
UTC = timezone.utc


@dataclass(frozen=True, slots=True)
class Measures:
    """What is summed of uses; `unpriced` of them have no known cost."""

    requests: int = 0
    tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0

    def __add__(self, other: Measures) -> Measures:
        sums = {name: getattr(self, name) + getattr(other, name) for name in NAMES if name != "cost"}
        return Measures(**sums, cost=EXACT.add(self.cost, other.cost))


NAMES = tuple(entry.name for entry in fields(Measures))
NOTHING = Measures()


@dataclass(frozen=True, slots=True)
class Ranked:
    name: str
    measures: Measures


@dataclass(frozen=True, slots=True)
class Group:
    """One series: of a name, or of all other names where that is None. A point is None where nothing is known."""

    name: str | None
    points: tuple[Measures | None, ...]

    @property
    def whole(self) -> Measures:
        return added(point for point in self.points if point)


@dataclass(frozen=True, slots=True)
class Course:
    """Usage over time by one dimension, the largest first, with the sum of the period before.

    `starts` are days, or moments where the unit is an hour. `ranking` has the largest names, at most 1,000.
    """

    period: Period
    dimension: str
    unit: str
    starts: tuple[date | datetime, ...]
    groups: tuple[Group, ...]
    ranking: tuple[Ranked, ...]
    whole: Measures
    before: Measures

    @property
    def points(self) -> list[Measures | None]:
        """The sums of all groups; None where nothing is known."""
        columns = zip(*(group.points for group in self.groups), strict=True)
        return [added(point for point in column if point) if column[0] is not None else None for column in columns]


def added(measures: Iterable[Measures]) -> Measures:
    found = NOTHING
    for one in measures:
        found = found + one
    return found


def unit_of(period: Period, wanted: str = "") -> str:
    """The unit that was asked for if such a chart could be read, else one that fits the days."""
    if wanted and LEAST_DAYS_OF[wanted] <= period.days <= MOST_DAYS_OF[wanted]:
        return wanted
    if period.days <= 2:
        return "hour"
    return "day" if period.days <= 92 else "week" if period.days <= 370 else "month"


def units_of(period: Period) -> list[str]:
    return [unit for unit in MOST_DAYS_OF if unit_of(period, unit) == unit]


def totals(period: Period, only: Slice = ALL) -> Measures:
    return _measures(_days(period, only).aggregate(**_sums()))


def ranking(period: Period, dimension: str, only: Slice = ALL, *, most: int = MOST_RANKED) -> tuple[Ranked, ...]:
    """The names that were used most, by tokens."""
    _check(dimension)
    rows = _days(period, only).values(dimension).annotate(**_sums()).order_by("-tokens", "-requests", dimension)
    return tuple(Ranked(row[dimension], _measures(row)) for row in rows[:most])


def series(
    period: Period,
    by: str,
    only: Slice = ALL,
    *,
    unit: str = "",
    known: tuple[date | None, datetime | None] = (None, None),
) -> Course:
    """Usage over time by model, feature or tier: the five largest, and the others as one. Two queries.

    `known` are the first day that has usage and the moment up to which roll-ups reach; beyond them nothing is known,
    which is not the same as zero.
    """
    unit = unit_of(period, unit)
    ranked = ranking(period, by, only)
    shown = [one.name for one in ranked[:MOST_SERIES]]
    starts = buckets(period, unit)
    rolled: QuerySet[Any] = (UsageHour if unit == "hour" else UsageDay).objects.filter(only.condition())
    both = rolled.filter(day__gte=period.before.first, day__lt=period.until)
    # Of the period before all is one bucket.
    bucket = Case(When(day__gte=period.first, then=bucketed(unit)), default=Value(None))
    before = NOTHING
    found: dict[tuple[int, str | None], Measures] = {}
    of = Case(When(Q(**{f"{by}__in": shown}), then=F(by)), default=Value(None), output_field=CharField(null=True))
    rows = both.annotate(bucket=bucket, shown=of).values("bucket", "shown").annotate(**_sums()).order_by()
    for row in rows:
        measures = _measures(row)
        if row["bucket"] is None:
            before = before + measures
            continue
        at = _place(row["bucket"], starts, unit)
        found[at, row["shown"]] = found.get((at, row["shown"]), NOTHING) + measures
    is_known = [_is_known(starts, at, unit, *known) for at in range(len(starts))]
    names: list[str | None] = [*shown]
    if any(name is None for _at, name in found):
        names.append(None)
    groups = tuple(
        Group(name, tuple(_point(found.get((at, name)), is_known[at]) for at in range(len(starts)))) for name in names
    )
    return Course(period, by, unit, starts, groups, ranked, added(found.values()), before)


def heat(period: Period, only: Slice = ALL) -> list[list[int]]:
    """Tokens by weekday, from Monday, and hour of the day; of a long period those of its last 90 days."""
    grid = [[0] * 24 for _day in range(7)]
    for row in _hours(last_days(period), only).values("day", "hour").annotate(sum=Sum("tokens")).order_by():
        grid[row["day"].weekday()][row["hour"]] += row["sum"]
    return grid


def last_days(period: Period, most: int = HEAT_DAYS) -> Period:
    return period if period.days <= most else Period.of_days(most, last=period.last)


def buckets(period: Period, unit: str) -> tuple[date | datetime, ...]:
    """Where the columns of a chart begin. The first week and month begin with the period."""
    if unit == "hour":
        # Two moments of one zone are subtracted by their wall clocks, which skip and repeat hours.
        first, until = period.starts_at.astimezone(UTC), period.ends_at.astimezone(UTC)
        return tuple((first + number * HOUR).astimezone(zone()) for number in range(round((until - first) / HOUR)))
    if unit == "day":
        return tuple(period)
    if unit == "month":
        return tuple(max(month, period.first) for month in period.months())
    monday = period.first - timedelta(days=period.first.weekday())
    weeks = (monday + timedelta(days=7 * number) for number in range((period.last - monday).days // 7 + 1))
    return tuple(max(week, period.first) for week in weeks)


def bucketed(unit: str) -> Any:
    """Of a row its hour, or the first day of its day, week or month."""
    return {
        "hour": F("starts_at"),
        "day": F("day"),
        "week": _as_day(TruncWeek("day")),
        "month": _as_day(TruncMonth("day")),
    }[unit]


def _as_day(start: Any) -> Cast:
    """PostgreSQL truncates days to moments."""
    return Cast(start, DateField())


def _place(start: date | datetime, starts: Sequence[date | datetime], unit: str) -> int:
    """Of which column a row is."""
    if isinstance(start, datetime):
        first = cast("datetime", starts[0]).astimezone(UTC)
        return min(max(int((start.astimezone(UTC) - first) / HOUR), 0), len(starts) - 1)
    if unit == "day":
        return (start - starts[0]).days
    if unit == "week":
        return (start + timedelta(days=6) - starts[0]).days // 7 if start > starts[0] else 0
    return (start.year - starts[0].year) * 12 + start.month - starts[0].month


def _is_known(
    starts: Sequence[date | datetime], at: int, unit: str, first: date | None, reached: datetime | None
) -> bool:
    """Whether usage of this column could have been seen."""
    start = starts[at]
    if isinstance(start, datetime):
        return (first is None or start.date() >= first) and (reached is None or start <= reached)
    last = starts[at + 1] if at + 1 < len(starts) else None
    return first is None or start >= first or (unit != "day" and (last is None or last > first))


def _point(measures: Measures | None, is_known: bool) -> Measures | None:
    return measures or (NOTHING if is_known else None)


def _days(period: Period, only: Slice) -> QuerySet[Any]:
    return UsageDay.objects.filter(period.in_days(), only.condition())


def _hours(period: Period, only: Slice) -> QuerySet[Any]:
    return UsageHour.objects.filter(period.in_days(), only.condition())


def _sums() -> dict[str, Sum]:
    return {name: Sum(name) for name in NAMES}


def _measures(row: Any) -> Measures:
    return Measures(**{name: row[name] or 0 for name in NAMES if name != "cost"}, cost=row["cost"] or Decimal(0))


def _check(dimension: str) -> None:
    if dimension not in DIMENSIONS:
        raise ValueError(f"There is nothing by {dimension}.")
