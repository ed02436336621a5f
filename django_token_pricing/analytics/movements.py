"""What the ledger moved by the day, and the balance of all accounts that it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from itertools import accumulate
from typing import Any

from django.db.models import Case, Sum, Value, When

from django_token_pricing.analytics.periods import Period
from django_token_pricing.analytics.usage import bucketed, buckets, unit_of
from django_token_pricing.choices import EntryKind
from django_token_pricing.models import FlowDay

OPENING, BEFORE, NOW = range(3)


class Moved(dict[str, int]):
    """Tokens by the kind of entry, as they stand in the ledger: what takes from a lot is below 0."""

    @property
    def allocated(self) -> int:
        """What was granted; what was carried over was granted before."""
        return self.get(EntryKind.GRANT.value, 0)

    @property
    def consumed(self) -> int:
        """What uses were charged, less what was refunded of them."""
        return -self.get(EntryKind.CONSUME.value, 0) - self.get(EntryKind.REFUND.value, 0)

    @property
    def expired(self) -> int:
        return -self.get(EntryKind.EXPIRE.value, 0)

    @property
    def net(self) -> int:
        return sum(self.values())

    def add(self, kind: str, tokens: int) -> None:
        self[kind] = self.get(kind, 0) + tokens


@dataclass(frozen=True, slots=True)
class Flows:
    """`columns` and `balances` are of the days, weeks or months that begin at `starts`."""

    unit: str
    starts: tuple[date | datetime, ...]
    columns: tuple[Moved, ...]
    before: Moved
    opening: int

    @property
    def now(self) -> Moved:
        sums = Moved()
        for column in self.columns:
            for kind, tokens in column.items():
                sums.add(kind, tokens)
        return sums

    @property
    def opening_or_moved(self) -> bool:
        """Whether there was ever a movement up to the end of the period."""
        return bool(self.opening or self.before or any(self.columns))

    @property
    def balances(self) -> list[int]:
        """What all accounts had at the end of each column, held tokens and lots that start later included."""
        return list(accumulate((column.net for column in self.columns), initial=self.opening))[1:]


def flows(period: Period, *, unit: str = "") -> Flows:
    """Of a period by the day, week or month, of the period before, and the balance with which that of now began.

    One query over the roll-up of days.
    """
    unit = unit_of(period, unit)
    # The ledger is not rolled up by the hour.
    unit = "day" if unit == "hour" else unit
    starts = buckets(period, unit)
    columns = tuple(Moved() for _start in starts)
    before = Moved()
    opening = 0
    for row in _rows(period, unit):
        if row["part"] == NOW:
            columns[_column(row["bucket"], starts)].add(row["kind"], row["sum"])
            continue
        opening += row["sum"]
        if row["part"] == BEFORE:
            before.add(row["kind"], row["sum"])
    return Flows(unit, starts, columns, before, opening)


def _rows(period: Period, unit: str) -> Any:
    part = Case(
        When(day__lt=period.before.first, then=Value(OPENING)),
        When(day__lt=period.first, then=Value(BEFORE)),
        default=Value(NOW),
    )
    bucket = Case(When(day__gte=period.first, then=bucketed(unit)), default=Value(None))
    rows = FlowDay.objects.filter(day__lt=period.until).annotate(part=part, bucket=bucket)
    return rows.values("part", "bucket", "kind").annotate(sum=Sum("tokens")).order_by()


def _column(bucket: date, starts: tuple[Any, ...]) -> int:
    """The last column that begins on that day or before; the first week and month begin with the period."""
    low, high = 0, len(starts) - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if starts[middle] <= bucket else (low, middle - 1)
    return low
