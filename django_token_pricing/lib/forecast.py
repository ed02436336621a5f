"""What is to come of a measure by the day: two naive methods, intervals from their errors, and the back-test of any.

A day that nobody measured is None: it is no zero, it is passed over. Intervals are of 80%: one value in ten was above,
one below, when the method was asked in the past for as many days ahead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from django_token_pricing.lib.series import MOST, quantile

WEEK = 7
# Two weeks: one to tell from, one to see how wrong that was.
LEAST_DAYS = 14
RECENT = 28
LOW, HIGH = 0.1, 0.9
MOST_ORIGINS = 12
# How far ahead the back-test looks from each of its origins.
MOST_AHEAD = 28
SEASONAL = "seasonal-naive"
MEAN = "recent-mean"

History = Sequence[float | None]
# What a method says of so many days after the history; None where it cannot say anything.
Method = Callable[[History, int], "list[float] | None"]


@dataclass(frozen=True, slots=True)
class Point:
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Errors:
    """Of what a method said: absolute (MAE), as a share of what came (WAPE), and against a week-ago guess (MASE).

    WAPE is None where nothing came, MASE where the history repeats itself exactly, for there is nothing to divide by.
    """

    mae: float
    wape: float | None
    mase: float | None
    days: int


@dataclass(slots=True)
class Backtest:
    """The methods' errors over the same days, from the same origins."""

    errors: dict[str, Errors] = field(default_factory=dict)
    origins: int = 0
    # By method and by how many days ahead, what came less what was said.
    off: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    # What each said from the last origin: (place in the history, value).
    said: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def best(self, names: Sequence[str]) -> str:
        """The one of these with the least error; the first of those that are equal, or where nothing was tested."""
        tested = [name for name in names if name in self.errors]
        return min(tested, key=lambda name: self.errors[name].mae) if tested else names[0]

    def beats(self, name: str, others: Sequence[str]) -> bool:
        """Whether it was better than each of the others over the same days."""
        mine = self.errors.get(name)
        return mine is not None and all(
            mine.days == self.errors[other].days and mine.mae < self.errors[other].mae
            for other in others
            if other in self.errors
        )


def cleaned(history: History) -> list[float | None]:
    """Without the gaps before the first day, and without what is no number."""
    values = [None if value is None or not math.isfinite(value) else min(float(value), MOST) for value in history]
    first = next((place for place, value in enumerate(values) if value is not None), len(values))
    return values[first:]


def is_enough(history: History) -> bool:
    """Whether there are two weeks to tell from."""
    return sum(value is not None for value in history) >= LEAST_DAYS


def seasonal_naive(history: History, days: int) -> list[float] | None:
    """As on the same weekday last measured; of a weekday that never was, the mean of the last week."""
    known = [value for value in history[-WEEK:] if value is not None] or [
        value for value in history if value is not None
    ][-WEEK:]
    if not known:
        return None
    middle = _mean(known)
    week: list[float] = []
    for place in range(min(WEEK, days)):
        # The place in the history that is whole weeks before the day asked for.
        back = len(history) + place - WEEK
        while back >= 0 and history[back] is None:
            back -= WEEK
        value = history[back] if back >= 0 else None
        week.append(middle if value is None else value)
    return [week[place % WEEK] for place in range(days)]


def recent_mean(history: History, days: int) -> list[float] | None:
    """The mean of the last four weeks, for each day the same."""
    known = [value for value in history[-RECENT:] if value is not None]
    return [_mean(known)] * days if known else None


NAIVE: Mapping[str, Method] = {SEASONAL: seasonal_naive, MEAN: recent_mean}


def back_test(history: History, methods: Mapping[str, Method], *, days: int, origins: int = MOST_ORIGINS) -> Backtest:
    """Ask each method at several moments of the past for the days that came then. Only days that all told count."""
    values = list(history)
    result = Backtest()
    absolute: dict[str, float] = dict.fromkeys(methods, 0.0)
    came = scale = 0.0
    counted = scaled = 0
    ahead = max(1, min(days, MOST_AHEAD))
    for origin in _origins(values, ahead, origins):
        past, future = values[:origin], values[origin : origin + ahead]
        told = {name: method(past, len(future)) for name, method in methods.items()}
        if any(one is None for one in told.values()) or all(value is None for value in future):
            continue
        result.origins += 1
        week_ago = _week_ago(past)
        for place, value in enumerate(future):
            if value is None:
                continue
            counted += 1
            came += abs(value)
            if week_ago:
                scale += week_ago
                scaled += 1
            for name, one in told.items():
                off = value - one[place]  # type: ignore[index]
                absolute[name] += abs(off)
                result.off.setdefault(name, {}).setdefault(place + 1, []).append(off)
        result.said = {
            name: [(origin + place, one[place]) for place in range(len(future))]  # type: ignore[index]
            for name, one in told.items()
        }
    if counted:
        for name, total in absolute.items():
            mase = total / counted / (scale / scaled) if scaled and scaled == counted else None
            result.errors[name] = Errors(total / counted, total / came if came else None, mase, counted)
    return result


def with_interval(values: Sequence[float], off: Mapping[int, Sequence[float]]) -> list[Point]:
    """Each value between what one error in ten was below, and one above, that many days ahead.

    Further ahead than was tested the interval widens with the root of the time. It never narrows, nor falls below 0.
    """
    points: list[Point] = []
    under = over = 0.0
    furthest = max(off, default=0)
    for ahead, value in enumerate(values, start=1):
        known = _near(off, min(ahead, furthest))
        if known:
            wider = math.sqrt(ahead / furthest) if ahead > furthest else 1.0
            under = max(under, -quantile(known, LOW) * wider)
            over = max(over, quantile(known, HIGH) * wider)
        shown = max(0.0, value)
        points.append(Point(shown, min(shown, max(0.0, value - under)), max(shown, value + over)))
    return points


def _origins(values: History, ahead: int, most: int) -> list[int]:
    """A week apart up to the end, each with a week of history at least; the last leaves room for all days asked for."""
    last = len(values) - min(ahead, max(WEEK, len(values) // 3))
    found = [origin for origin in range(last, WEEK - 1, -WEEK) if any(value is not None for value in values[:origin])]
    return sorted(found[:most])


def _near(off: Mapping[int, Sequence[float]], ahead: int) -> list[float]:
    """The errors of as many days ahead, and of a few days more or less so that there are enough of them."""
    found: list[float] = []
    for reach in range(WEEK + 1):
        found = [one for place in range(ahead - reach, ahead + reach + 1) for one in off.get(place, ())]
        if len(found) >= 20:
            break
    return sorted(found)


def _week_ago(past: History) -> float:
    """How wrong a guess was, within the history, that each day is as a week before."""
    off = [
        abs(value - before)
        for value, before in zip(past[WEEK:], past, strict=False)
        if value is not None and before is not None
    ]
    return _mean(off) if off else 0.0


def _mean(values: Sequence[float]) -> float:
    # Divided first: a sum of very large numbers has no end.
    return math.fsum(value / len(values) for value in values)
