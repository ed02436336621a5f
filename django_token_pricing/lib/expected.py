"""What a series is expected to be at each place: its recent level, and the season of its day or week.

An expectation never looks ahead, so that a finding in a long history is the one that was to be told at the time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from django_token_pricing.lib.series import TO_DEVIATION, Series, Values, Window, levels, median, quantile, spread

# Cycles of a season that are remembered, and how many it takes to know it.
MOST_CYCLES = 10
LEAST_CYCLES = 2
# Neighbours in the season stand in for cycles that are few.
NEIGHBOURS = 2
# Values of which a spread is taken.
MOST_SPREAD = 1_500
# A deviation of less than this share of what is usual is none, however even the series was.
LEAST_SHARE = 0.01
# A season is taken where it leaves no more than this share of the error without it.
LEAST_GAIN = 0.9
# Values after which it is known how far a level lags behind.
LEAST_LAG = 7
# From so many usual deviations on a value is kept from the level for a while.
FAR = 5.0
# The level of so few values follows whatever stays.
SHORT = 3


@dataclass(frozen=True, slots=True)
class Scale:
    """How values are compared: as they are, or by their logarithm where they vary in proportion."""

    is_log: bool
    offset: float = 0.0

    def inward(self, value: float) -> float:
        return math.log(value + self.offset) if self.is_log else value

    def outward(self, value: float) -> float:
        return math.exp(min(value, 700.0)) - self.offset if self.is_log else value


@dataclass(frozen=True, slots=True)
class Expectation:
    """For each place what was expected, and how far off values have usually been; None where too little was known."""

    scale: Scale
    expected: Values
    spreads: Values
    scores: Values
    period: int
    # Where it began to know enough.
    known_from: int = 0


def scale_of(values: Values) -> Scale:
    """By logarithms, where nothing is negative and the upper values are spread much wider than the lower ones."""
    known = sorted(value for value in values if value is not None)
    if len(known) < 8 or known[0] < 0:
        return Scale(is_log=False)
    low, middle, high = (quantile(known, share) for share in (0.05, 0.5, 0.95))
    if high < 1.5 * low or (high - middle <= 1.5 * (middle - low) and high < 4 * low):
        return Scale(is_log=False)
    positive = [value for value in known if value > 0]
    if not positive or 2 * len(positive) < len(known):
        return Scale(is_log=False)
    return Scale(is_log=True, offset=max(median(positive) / 4, 1e-300))


def seasonal(values: Values, period: int, *, cycles: int = MOST_CYCLES) -> Values:
    """At each place, how much the same place of the cycles before was above its level; None before it is known."""
    around = levels(values, period)
    above = [
        None if value is None or level is None else value - level for value, level in zip(values, around, strict=True)
    ]
    reach = NEIGHBOURS if period >= 48 else (1 if period >= 24 else 0)
    # The level around a place needs half a cycle after it.
    found: Values = [None] * len(values)
    for place in range(period * LEAST_CYCLES, len(values)):
        same: list[float] = []
        for cycle in range(1, cycles + 1):
            middle = place - cycle * period
            if middle < 0:
                break
            # The place itself counts more than its neighbours: a season may have sharp edges.
            same += [one for one in above[max(0, middle - reach) : middle + reach + 1] if one is not None]
            if reach and (itself := above[middle]) is not None:
                same += [itself] * reach
        if len(same) >= LEAST_CYCLES:
            found[place] = median(same)
    return found


def expectation(values: Values, season: Values | None, memory: int, period: int, scale: Scale, day: int) -> Expectation:
    """From the median of the last `memory` values without their season.

    What is far off does not become the level before it has stayed for a day, or for twice a short memory: so a
    deviation ends where it ends, and a level that has shifted for good is accepted.
    """
    length = len(values)
    level = Window(memory)
    # How far behind the level is: what grows is always a little above its last values.
    behind = Window(max(4 * memory, 56))
    patience = 2 * memory if memory <= SHORT else max(memory, min(day, 300)) if day else memory // 2 + 2
    waiting: list[float] = []
    spreads = _Spreads(length, period, scale)
    expected: Values = [None] * length
    wides: Values = [None] * length
    scores: Values = [None] * length
    for place in range(length):
        above = 0.0 if season is None else season[place]
        value = values[place]
        if above is None:
            continue
        middle = level.median()
        if middle is None or len(level) < min(memory, 3):
            level.add(None if value is None else value - above)
            continue
        usual = middle + above + ((behind.median() or 0.0) if len(behind) >= LEAST_LAG else 0.0)
        wide = spreads.at(place, usual)
        expected[place], wides[place] = usual, wide
        if value is None:
            level.add(None)
            continue
        spreads.add(place, value - usual)
        score = 0.0 if wide is None else max(-1e9, min(1e9, (value - usual) / wide))
        scores[place] = None if wide is None else score
        if abs(score) < FAR or len(waiting) >= patience:
            for one in waiting if len(waiting) >= patience else ():
                level.add(one)
            waiting.clear()
            behind.add(value - above - middle)
            level.add(value - above)
        else:
            waiting.append(value - above)
    return Expectation(scale, expected, wides, scores, period)


class _Spreads:
    """How far off values have been: in all that came before, and with a season in the same part of its cycles."""

    def __init__(self, length: int, period: int, scale: Scale) -> None:
        self.scale = scale
        self.period = period
        self.reach = max(1, period // 24)
        self.every = max(1, min(24, length // 100))
        self.off: Values = [None] * length
        self._known: list[float] = []
        self._wide: float | None = None

    def add(self, place: int, off: float) -> None:
        self.off[place] = off
        self._known.append(off)

    def at(self, place: int, usual: float) -> float | None:
        if place % self.every == 0 and len(self._known) >= 8:
            self._wide = spread(self._known[-MOST_SPREAD:])
        if self._wide is None:
            return None
        here = _here(self.off, place, self.period, self.reach) if self.period else None
        mixed = self._wide if here is None else math.hypot(self._wide, here) * 0.7071
        least = LEAST_SHARE if self.scale.is_log else LEAST_SHARE * abs(usual)
        return max(mixed, 0.5 * self._wide, least, 1e-12)


def _here(off: Values, place: int, period: int, reach: int) -> float | None:
    """How far off the same part of the cycles before was."""
    same: list[float] = []
    for cycle in range(1, MOST_CYCLES + 1):
        middle = place - cycle * period
        if middle < 0:
            break
        same += [abs(one) for one in off[max(0, middle - reach) : middle + reach + 1] if one is not None]
    return median(same) * TO_DEVIATION if len(same) >= 6 else None


def error_of(expected: Expectation, values: Values, start: int) -> float | None:
    """How far off it was, typically: by the middle and by the upper part of what was off."""
    off = sorted(
        abs(value - usual)
        for value, usual in zip(values[start:], expected.expected[start:], strict=True)
        if value is not None and usual is not None
    )
    if len(off) < 8:
        return None
    return quantile(off, 0.5) + quantile(off, 0.8)


def best(values: Values, periods: Sequence[int], memory: int, scale: Scale, day: int) -> Expectation:
    """With the season that has told best what came, or without any; the longest known falls back to shorter ones."""
    plain = expectation(values, None, memory, 0, scale, day)
    ranked = [plain]
    for period in periods:
        if period >= 2 and len(values) >= period * (LEAST_CYCLES + 1):
            with_season = expectation(values, seasonal(values, period), memory, period, scale, day)
            start = next((place for place, one in enumerate(with_season.expected) if one is not None), len(values))
            error, without = error_of(with_season, values, start), error_of(ranked[0], values, start)
            if error is not None and without is not None and error < LEAST_GAIN * without:
                ranked.insert(0, with_season)
    return _joined(ranked)


def _joined(ranked: list[Expectation]) -> Expectation:
    """At each place the first that knows."""
    first = ranked[0]
    for other in ranked[1:]:
        known = [one is not None for one in first.scores]
        # A gap in the values is no lack of knowledge.
        begins = known.index(True) if True in known else len(known)
        first = Expectation(
            first.scale,
            other.expected[:begins] + first.expected[begins:],
            other.spreads[:begins] + first.spreads[begins:],
            other.scores[:begins] + first.scores[begins:],
            first.period,
            max(first.known_from, begins),
        )
    return first


def periods_of(series: Series) -> list[int]:
    """The seasons to try first: of a day and of a week."""
    return [period for period in (series.day, series.week) if period]


def repeating(values: Values, most: int = 400) -> int:
    """The distance at which the series is most like itself, if it clearly is; else 0."""
    known = [value for value in values[-3_000:] if value is not None]
    if len(known) < 30 or len(known) < 0.9 * len(values[-3_000:]):
        return 0
    level = levels(list(known), max(5, min(len(known) // 4, 2 * most)))
    wide = spread(known)
    if not wide:
        return 0
    flat = [max(-4.0, min(4.0, (value - (middle or 0.0)) / wide)) for value, middle in zip(known, level, strict=True)]
    middle = sum(flat) / len(flat)
    flat = [one - middle for one in flat]
    total = sum(one * one for one in flat)
    if not total:
        return 0
    lags = range(1, min(most, len(flat) // 3) + 1)
    alike = [0.0, *(sum(map(float.__mul__, flat[lag:], flat)) / total for lag in lags)]
    best_lag, best_value = 0, 0.3
    seen_low = False
    for lag in range(2, len(alike) - 1):
        seen_low = seen_low or alike[lag] < 0.1
        corrected = alike[lag] * len(flat) / (len(flat) - lag)
        if seen_low and alike[lag] >= alike[lag - 1] and alike[lag] >= alike[lag + 1] and corrected > best_value * 1.1:
            best_lag, best_value = lag, corrected
    return best_lag
