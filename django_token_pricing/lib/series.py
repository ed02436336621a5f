"""Measurements at regular intervals: put onto a grid, with gaps where nothing was measured, and robust figures."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from itertools import pairwise
from typing import Any

# A grid is no longer than that: of a longer series the last part is taken.
MOST_CELLS = 100_000
# What makes a standard deviation of a median absolute deviation, if the values are spread normally.
TO_DEVIATION = 1.4826
# Nothing measured is as large: a sum of many of these is still a number.
MOST = 1e100
DAY = 86_400
HOUR = 3_600

Values = list[float | None]


@dataclass(frozen=True, slots=True)
class Series:
    """Values at moments that are `step` seconds apart; None where nothing was measured."""

    moments: list[Any]
    values: Values
    step: float

    def __len__(self) -> int:
        return len(self.values)

    @property
    def day(self) -> int:
        """How many values a day has; 0 where that is not a whole number of two or more."""
        return _whole(DAY / self.step)

    @property
    def week(self) -> int:
        return _whole(7 * DAY / self.step)


def _whole(number: float) -> int:
    nearest = round(number)
    return nearest if nearest >= 2 and abs(number - nearest) < 0.01 * nearest else 0


def regular(points: Iterable[tuple[Any, Any]]) -> Series:
    """Moments (or days) with values, in any order, on a grid whose step is their usual distance.

    What is no finite number, and a cell that nothing falls into, is a gap. Of several values in a cell it is the mean.
    """
    found = sorted(
        ((seconds_of(moment), moment, _number(value)) for moment, value in points), key=lambda point: point[0]
    )
    if not found:
        return Series([], [], float(HOUR))
    distances = [after[0] - before[0] for before, after in pairwise(found) if after[0] > before[0]]
    step = median(distances) if distances else float(DAY)
    last = found[-1][0]
    first = max(found[0][0], last - (MOST_CELLS - 1) * step)
    cells: dict[int, list[float]] = {}
    moments: dict[int, Any] = {}
    for at, moment, value in found:
        if at < first:
            continue
        place = round((at - first) / step)
        moments.setdefault(place, moment)
        if value is not None:
            cells.setdefault(place, []).append(value)
    length = round((last - first) / step) + 1
    values: Values = [sum(cells[place]) / len(cells[place]) if place in cells else None for place in range(length)]
    return Series([moments.get(place) for place in range(length)], values, step)


def coarser(series: Series, size: int, phase: int = 0) -> Series:
    """The means of `size` values each; of a part that has fewer than three quarters of them, a gap."""
    moments: list[Any] = []
    values: Values = []
    for start in range(phase, len(series) - size + 1, size):
        part = [value for value in series.values[start : start + size] if value is not None]
        moments.append(next((moment for moment in series.moments[start : start + size] if moment is not None), None))
        values.append(sum(part) / len(part) if 4 * len(part) >= 3 * size else None)
    return Series(moments, values, series.step * size)


def seconds_of(moment: Any) -> float:
    """When a moment or a day is, for comparing it with others of its kind."""
    if isinstance(moment, datetime):
        # A moment without a zone is taken as it is written.
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    if isinstance(moment, date):
        return float(moment.toordinal() * DAY)
    return float(moment)


def _number(value: Any) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return max(-MOST, min(MOST, number)) if math.isfinite(number) else None


def median(values: Sequence[float]) -> float:
    """Of one value or more."""
    return quantile(sorted(values), 0.5)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of values in order, between neighbours in proportion."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    if ordered[low] == ordered[high]:
        return ordered[low]
    return ordered[low] * (1 - (place - low)) + ordered[high] * (place - low)


def spread(values: Sequence[float]) -> float:
    """A standard deviation that a few values far off do not move: by the median; by the mean where most are equal."""
    middle = median(values)
    off = [abs(value - middle) for value in values]
    return median(off) * TO_DEVIATION or sum(off) / len(off) * 1.2533


class Window:
    """The last values of a series in order, for their median."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._arrived: list[float | None] = []
        self._first = 0
        self._ordered: list[float] = []

    def __len__(self) -> int:
        return len(self._ordered)

    def add(self, value: float | None) -> None:
        """A gap takes a place as well, so that what is old leaves."""
        self._arrived.append(value)
        if value is not None:
            insort(self._ordered, value)
        if len(self._arrived) - self._first > self.size:
            gone = self._arrived[self._first]
            self._first += 1
            if gone is not None:
                del self._ordered[bisect_left(self._ordered, gone)]

    def median(self) -> float | None:
        return quantile(self._ordered, 0.5) if self._ordered else None


def levels(values: Values, size: int) -> Values:
    """The median of the `size` values around each; at the ends of as many as there are."""
    window = Window(size)
    half = size // 2
    found: Values = []
    for place in range(len(values) + half):
        window.add(values[place] if place < len(values) else None)
        if place >= half:
            found.append(window.median() if len(window) >= 1 else None)
    return found
