"""Series with planted faults and the places where they are, for measuring what a detector finds and what it makes up.

Each has an interval, a shape (season of day and week, drift, level, random walk, counts, spikes at a fixed hour, random
bursts), noise that may have heavy tails and memory, and faults that are faults whatever the shape: spikes, dips, shifts
of the level, silence, single days at half of the usual (holidays). Growth and missing values are none.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

START = datetime(2026, 3, 2, tzinfo=timezone.utc)
SHAPES = ("season", "drift", "flat", "walk", "counts", "hourly_job", "bursts", "holidays")
FAULTS = {
    "flat": ("spike", "shift", "silence"),
    "walk": ("spike", "shift"),
    "counts": ("spike", "silence", "shift"),
    "bursts": ("spike", "shift"),
    "holidays": ("holiday", "spike", "holiday"),
}
SPANS = ((5, 14), (30, 42), (60, 42), (60, 90), (1_440, 300))


@dataclass(frozen=True)
class Fault:
    kind: str
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True)
class Planted:
    name: str
    points: list[tuple[datetime, float | None]]
    faults: list[Fault]

    @property
    def weeks(self) -> float:
        return (self.points[-1][0] - self.points[0][0]) / timedelta(weeks=1)


def planted(
    seed: int, minutes: int, days: int, shape: str = "season", faults: Sequence[str] = (), *, is_heavy: bool = False
) -> Planted:
    """A series of `days` at an interval of `minutes`."""
    rng = random.Random(seed)
    per_day = 1_440 / minutes
    count = round(days * per_day)
    values = _shape(rng, shape, count, per_day, is_heavy=is_heavy)
    found: list[tuple[str, int, int]] = []
    begin = max(count // 5, round(per_day * (7 if days >= 21 else 3)))
    order = list(faults)
    rng.shuffle(order)
    room = (count - begin) // max(1, len(order))
    for number, kind in enumerate(order):
        at = begin + number * room + rng.randint(room // 5, room * 3 // 5)
        first, last = _plant(rng, shape, kind, values, at, per_day)
        if kind != "missing":
            found.append((kind, first, min(count - 1, last)))
    points = [(START + timedelta(minutes=minutes * place), value) for place, value in enumerate(values)]
    name = f"{shape}, {minutes} min, {days} d{', heavy tails' if is_heavy else ''}"
    return Planted(name, points, [Fault(kind, points[first][0], points[last][0]) for kind, first, last in found])


def suite(seed: int) -> list[Planted]:
    """Each shape at each interval with its faults, and some without any."""
    found = []
    for minutes, days in SPANS:
        for shape in SHAPES:
            if (minutes == 1_440 and shape == "hourly_job") or (minutes == 5 and shape == "holidays"):
                continue
            faults = FAULTS.get(shape, ("spike", "dip", "shift", "silence"))
            if minutes == 1_440:
                faults = tuple(kind for kind in faults if kind != "dip")
            for is_heavy in (False, True) if shape in ("season", "drift", "flat", "walk", "hourly_job") else (False,):
                seed += 1
                found.append(planted(seed, minutes, days, shape, faults, is_heavy=is_heavy))
    for minutes, days in ((5, 14), (60, 56), (1_440, 300)):
        for shape in ("season", "drift", "walk", "counts", "bursts"):
            seed += 1
            found.append(planted(seed, minutes, days, shape, ("missing",)))
    return found


def _noise(rng: random.Random, *, is_heavy: bool) -> float:
    value = rng.gauss(0, 1)
    # Student's t with three degrees of freedom.
    return value / math.sqrt(max(rng.gammavariate(1.5, 1 / 1.5), 0.05)) if is_heavy else value


def _weekend(day: float, share: float) -> float:
    """It comes within hours, not at midnight."""
    place = day % 7
    if place < 0.25:
        depth = 1 - place / 0.25
    elif place < 4.85:
        depth = 0.0
    else:
        depth = min(1.0, (place - 4.85) / 0.25)
    return 1 - (1 - share) * depth


def _shape(rng: random.Random, shape: str, count: int, per_day: float, *, is_heavy: bool) -> list[float | None]:
    level, depth, peak, weekend = 10 ** rng.uniform(1, 5), rng.uniform(0.3, 0.8), rng.random(), rng.uniform(0.3, 0.9)
    trend = rng.uniform(-0.3, 1.0) if shape == "drift" else rng.uniform(-0.1, 0.1)
    memory, job = rng.choice([0, 0.5, 0.8]), rng.random()
    state = walk = 0.0
    values: list[float | None] = []
    for place in range(count):
        day = place / per_day
        state = memory * state + math.sqrt(1 - memory**2) * _noise(rng, is_heavy=is_heavy)
        wave = 1.0
        if shape in ("season", "drift", "counts", "hourly_job", "holidays"):
            wave += depth * math.sin(2 * math.pi * (day - peak)) + 0.2 * depth * math.sin(
                4 * math.pi * (day - 2 * peak)
            )
            wave *= _weekend(day, weekend)
        elif shape == "walk":
            walk = 0.995 * walk + 0.02 * math.sqrt(300 / (per_day + 12)) * rng.gauss(0, 1)
            wave = math.exp(walk)
        value = level * max(0.02, wave) * (1 + trend * place / count) * max(0.0, 1 + 0.08 * state)
        if shape == "counts":
            mean = 20 * max(0.02, wave)
            value = float(max(0, round(rng.gauss(mean, math.sqrt(mean)))))
            value += rng.paretovariate(1.8) * 10 if rng.random() < 0.002 else 0
        elif shape == "bursts":
            value = level * 0.3 * (1 + 0.1 * state)
            value += level * rng.uniform(0.8, 2.2) if rng.random() < 3 / per_day else 0
        elif shape == "hourly_job" and abs(day % 1 - job) < 0.6 / per_day:
            value += level * rng.uniform(1.5, 2)
        values.append(value)
    return values


def _plant(
    rng: random.Random, shape: str, kind: str, values: list[float | None], at: int, per_day: float
) -> tuple[int, int]:
    """From where to where the fault can be seen."""
    before = [value for value in values[max(0, at - max(1, round(per_day))) : at] if value is not None]
    usual = sum(before) / max(1, len(before))
    if kind == "spike":
        length = rng.choice([1, 1, 2, max(1, round(per_day / 48))])
        times = rng.uniform(4, 8) if shape == "bursts" else rng.uniform(1, 4)
        _change(values, at, at + length, lambda value: value + times * max(usual, value))
        return at, at + length
    if kind == "holiday":
        day = int(at / per_day)
        while day % 7 >= 5:
            day += 1
        at, length = round(day * per_day), round(per_day)
        _change(values, at, at + length, lambda value: value * 0.55)
        return at, at + length
    if kind == "shift":
        times = rng.uniform(2.5, 4) if shape == "bursts" else rng.choice([rng.uniform(1.5, 2.5), rng.uniform(0.3, 0.6)])
        _change(values, at, len(values), lambda value: value * times)
        return at, at + max(3, round(per_day * 0.75))
    length = max(2, round(per_day / rng.choice([24, 12] if kind == "dip" else [12, 6, 4])))
    if kind == "missing":
        values[at : at + length] = [None] * len(values[at : at + length])
    elif kind == "silence":
        _change(values, at, at + length, lambda value: 0.0)
    else:
        _change(values, at, at + length, lambda value: value * rng.uniform(0.05, 0.3))
    return at, at + length


def _change(values: list[float | None], first: int, last: int, change: object) -> None:
    for place in range(first, min(last, len(values))):
        value = values[place]
        if value is not None:
            values[place] = change(value)  # type: ignore[operator]
