"""What is odd in a series of measurements: far from what its hours, days and last level let expect, and seldom so far.

A value is scored by how many usual deviations it is off. What is told must be beyond a threshold that follows how
heavy the tails of this very series are, and must not be what has happened again and again in the weeks before.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from django_token_pricing.lib.expected import Expectation, best, periods_of, repeating, scale_of
from django_token_pricing.lib.series import DAY, HOUR, Series, coarser, quantile, regular, seconds_of

SPIKE = "spike"
DIP = "dip"
FLAT = "flat"

# Fewer values say nothing.
LEAST_VALUES = 24
# What is remembered of deviations.
MEMORY = 28 * DAY
# From here on a deviation counts as one that happens.
NOTABLE = 3.0


@dataclass(frozen=True, slots=True)
class Hit:
    """One stretch of odd values; numbers are those of the value that was furthest off, of the mean of a coarse one."""

    starts_at: Any
    ends_at: Any
    at: Any
    kind: str
    value: float
    expected: float
    low: float
    high: float
    score: float
    step: float
    period: float
    values: int


@dataclass(frozen=True, slots=True)
class Strictness:
    """What a sensitivity from 1 to 10 stands for."""

    least: float
    alerts_a_week: float
    often: float

    @classmethod
    def of(cls, sensitivity: int) -> Strictness:
        place = max(1, min(10, sensitivity)) - 5
        return cls(least=4.5 * 1.13**-place, alerts_a_week=0.3 * 1.6**place, often=0.75 * 1.35**place)


def detect(points: Iterable[tuple[Any, Any]], *, sensitivity: int = 5) -> list[Hit]:
    """Odd stretches of a series of (moment, value), the earliest first; moments at any regular interval up to a day.

    Nothing is told of the first fifth, or of the first two weeks of a long series: too little is known by then.
    """
    series = regular(points)
    if sum(value is not None for value in series.values) < LEAST_VALUES:
        return []
    strict = Strictness.of(sensitivity)
    hits = [hit for view in _views(series) for hit in _hits(view, strict)]
    hits += _frozen(series)
    return _merged(hits, series)


def _views(series: Series) -> list[Series]:
    """The series itself, and coarser ones in which a small deviation that lasts can be seen."""
    views = [series]
    length = len(series) * series.step
    for size, least in ((HOUR, 4 * DAY), (DAY, 35 * DAY)):
        count = round(size / series.step)
        if count >= 3 and length >= least:
            views.append(coarser(series, count))
    return views


def _hits(series: Series, strict: Strictness) -> list[Hit]:
    scale = scale_of(series.values)
    values = [None if value is None else scale.inward(value) for value in series.values]
    periods = periods_of(series)
    long = max(8, min(series.day // 2 if series.day else 14, 300))
    usual = best(values, periods, long, scale, series.day)
    if not usual.period and (other := repeating(values)):
        usual = best(values, [other], long, scale, series.day)
    begins = _begins(series)
    found: list[Hit] = []
    for one in (usual, best(values, [usual.period] if usual.period else [], 3, scale, series.day)):
        # With half a season known it would be told by the other half.
        found += _beyond(
            series, one, strict, max(begins, min(one.known_from, len(series) // (2 if series.step >= DAY else 4)))
        )
    return found


def _begins(series: Series) -> int:
    return min(len(series) // 5 + 8, max(8, round(14 * DAY / series.step)))


def _beyond(series: Series, usual: Expectation, strict: Strictness, begins: int) -> list[Hit]:
    """Stretches of scores beyond what is usual for this series."""
    gap = _gap(series.step)
    watch = {1: _Tail(series, strict), -1: _Tail(series, strict)}
    found: list[tuple[int, list[int]]] = []
    for place, score in enumerate(usual.scores):
        if score is None:
            continue
        side = 1 if score > 0 else -1
        is_odd = watch[side].is_odd(abs(score), place)
        watch[side].learn(abs(score), place, gap, is_odd=is_odd and place >= begins)
        if is_odd and place >= begins:
            if found and found[-1][0] == side and place - found[-1][1][-1] <= gap:
                found[-1][1].append(place)
            else:
                found.append((side, [place]))
    return [_hit(series, usual, places, watch[side].told) for side, places in found]


class _Tail:
    """How far off values of one side have been so far, and how often."""

    def __init__(self, series: Series, strict: Strictness) -> None:
        self.strict = strict
        self.step = series.step
        self.memory = round(MEMORY / series.step)
        self.every = max(1, min(50, len(series) // 60))
        self._ordered: list[float] = []
        self._threshold = strict.least
        self._due = 0
        # Stretches in which it was notably off, as [last place, furthest].
        self._stretches: list[list[float]] = []
        self.told = strict.least

    def is_odd(self, score: float, place: int) -> bool:
        if score < self.strict.least:
            return False
        if place >= self._due:
            self._threshold = self._computed()
            self._due = place + self.every
        self.told = self._threshold
        if score < self._threshold:
            return False
        since = place - self.memory
        gap = _gap(self.step)
        like = [one for one in self._stretches if one[0] >= since and place - one[0] > gap and one[1] >= 0.7 * score]
        weeks = min(place, self.memory) * self.step / (7 * DAY)
        return len(like) <= max(1.0, weeks * self.strict.often)

    def _computed(self) -> float:
        """Where one value a week or so would be by chance, if the tail goes on as it began."""
        known = self._ordered
        if len(known) < 50:
            return self.strict.least * (1.3 if len(known) < 20 else 1.1)
        inner, outer = quantile(known, 0.9), quantile(known, 0.99)
        share = min(0.01, self.strict.alerts_a_week * self.step / (7 * DAY))
        return max(self.strict.least, min(outer + (outer - inner) / math.log(10) * math.log(0.01 / share), 30.0))

    def learn(self, score: float, place: int, gap: int, *, is_odd: bool) -> None:
        if not is_odd:
            insort(self._ordered, score)
        if score < NOTABLE:
            return
        if self._stretches and place - self._stretches[-1][0] <= gap:
            last = self._stretches[-1]
            last[0], last[1] = place, max(last[1], score)
        else:
            self._stretches.append([place, score])


def _gap(step: float) -> int:
    """Hits that are no further apart are one."""
    return max(2, min(12, round(6 * HOUR / step))) if step < DAY else 1


def _hit(series: Series, usual: Expectation, places: list[int], threshold: float) -> Hit:
    worst = max(places, key=lambda place: abs(usual.scores[place] or 0.0))
    score, expected, wide = usual.scores[worst] or 0.0, usual.expected[worst] or 0.0, usual.spreads[worst] or 0.0
    outward = usual.scale.outward
    value = series.values[worst]
    return Hit(
        starts_at=series.moments[places[0]],
        ends_at=series.moments[places[-1]],
        at=series.moments[worst],
        kind=SPIKE if score > 0 else DIP,
        value=0.0 if value is None else value,
        expected=outward(expected),
        low=outward(expected - threshold * wide),
        high=outward(expected + threshold * wide),
        score=abs(score),
        step=series.step,
        period=usual.period * series.step,
        values=len(places),
    )


def _frozen(series: Series) -> list[Hit]:
    """Stretches of one and the same value, far longer than any before in a series that never stood still."""
    found: list[Hit] = []
    longest, begins = 1, _begins(series)
    run: list[int] = []
    values = series.values
    for place, value in enumerate([*values, None]):
        if value is not None and run and value == values[run[-1]]:
            run.append(place)
            continue
        if len(run) >= max(12, 5 * longest) and run[0] >= begins and (last := values[run[0]]) is not None:
            first = run[min(len(run) - 1, max(12, 5 * longest))]
            found.append(
                Hit(
                    series.moments[first],
                    series.moments[run[-1]],
                    series.moments[first],
                    FLAT,
                    last,
                    last,
                    last,
                    last,
                    len(run) / longest,
                    series.step,
                    0.0,
                    len(run),
                )
            )
        longest = max(longest, len(run))
        if value is not None:
            run = [place]
    return found


def _merged(hits: list[Hit], series: Series) -> list[Hit]:
    """Hits of all views that touch are one, told by the sharpest: it lasts as long as the finest of them say."""
    gap = _gap(series.step) * series.step
    groups: list[list[Hit]] = []
    until = -math.inf
    for hit in sorted(hits, key=lambda hit: seconds_of(hit.starts_at)):
        begins, over = seconds_of(hit.starts_at), seconds_of(hit.ends_at) + hit.step - series.step
        if groups and begins - until <= gap:
            groups[-1].append(hit)
        else:
            groups.append([hit])
            until = -math.inf
        until = max(until, over)
    return [_joined(group) for group in groups]


def _joined(group: list[Hit]) -> Hit:
    sharpest = min(group, key=lambda hit: (hit.kind == FLAT, hit.step, seconds_of(hit.starts_at), -hit.score))
    # A day that is odd for what one of its hours holds did not begin at midnight.
    lasting = [hit for hit in group if hit.step == sharpest.step or hit.values > 1]
    first = min(lasting, key=lambda hit: seconds_of(hit.starts_at)).starts_at
    return replace(sharpest, starts_at=first, ends_at=max(lasting, key=lambda hit: seconds_of(hit.ends_at)).ends_at)
