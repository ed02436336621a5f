"""Usage as people make it: office hours in their own zone, quiet weekends and holidays, growth, spikes.

Plain Python without a database. The uses come day by day, oldest first.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

# Monday to Sunday, and midnight to 23:00, each against a plain working hour or day.
WEEKDAYS = [1.0, 1.1, 1.1, 1.05, 0.85, 0.22, 0.18]
HOURS = [1, 0.6, 0.4, 0.3, 0.3, 0.6, 2, 5, 12, 18, 20, 17, 9, 13, 18, 19, 17, 13, 8, 6, 5, 4, 3, 2]
ROUND_HOURS = list(range(24))
# Month and day, half-open, and the share of the usual that is left.
QUIET = [((8, 1), (8, 24), 0.6), ((12, 24), (12, 32), 0.25), ((1, 1), (1, 3), 0.3), ((5, 1), (5, 2), 0.3)]


@dataclass(frozen=True, slots=True)
class Model:
    """Prices in dollars for a million tokens; `first` and `last` are its shares of the uses when the story opens
    and when it ends."""

    name: str
    input: Decimal
    cached: Decimal
    output: Decimal
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Feature:
    """Usual sizes of what goes in and what comes out, in tokens, and its share of the uses."""

    name: str
    input: int
    output: int
    share: float


MODELS = [
    Model("gpt-4o", Decimal("2.50"), Decimal("1.25"), Decimal("10"), 0.46, 0.18),
    Model("gpt-4o-mini", Decimal("0.15"), Decimal("0.075"), Decimal("0.60"), 0.24, 0.22),
    Model("claude-sonnet-4.5", Decimal("3"), Decimal("0.30"), Decimal("15"), 0.08, 0.32),
    Model("gemini-2.5-pro", Decimal("1.25"), Decimal("0.31"), Decimal("10"), 0.12, 0.18),
    Model("mistral-large", Decimal("2"), Decimal("2"), Decimal("6"), 0.10, 0.10),
]
FEATURES = [
    Feature("chat", 1_100, 320, 0.52),
    Feature("summaries", 5_200, 480, 0.18),
    Feature("search", 1_700, 130, 0.18),
    Feature("code", 2_600, 700, 0.12),
]
CODE = FEATURES[3]


@dataclass(frozen=True, slots=True)
class Persona:
    """Somebody who uses the product from `since` until `until`, `pace` times on an ordinary working day."""

    owner: Any
    pace: float
    since: datetime
    until: datetime
    zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class Spike:
    """A script that ran away: many uses of one feature on one day, around the clock."""

    owner: Any
    day: date
    uses: int


@dataclass(frozen=True, slots=True)
class MadeUse:
    owner: Any
    used_at: datetime
    model: str
    feature: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost: Decimal

    @property
    def amount(self) -> int:
        """What Northwind charges: what went in and what came out."""
        return self.input_tokens + self.output_tokens


def uses(
    personas: Iterable[Persona], spikes: Iterable[Spike], *, since: datetime, until: datetime, rng: random.Random
) -> Iterator[MadeUse]:
    """All uses from `since` until before `until`, in order within each day."""
    personas, by_day = list(personas), {spike.day: spike for spike in spikes}
    # A place's clock may be a day ahead of or behind the site's.
    days = (until - since).days + 3
    for number in range(days):
        day = since.date() + timedelta(days=number - 1)
        progress = number / days
        made = [use for persona in personas for use in _day_of(persona, day, progress, rng)]
        if spike := by_day.get(day):
            made += _spike(spike, progress, rng)
        made.sort(key=lambda use: use.used_at)
        yield from (use for use in made if since <= use.used_at < until)


def _day_of(persona: Persona, day: date, progress: float, rng: random.Random) -> Iterator[MadeUse]:
    if not persona.since.date() <= day <= persona.until.date():
        return
    known_for = (day - persona.since.date()).days
    learning = min(1.0, 0.4 + known_for / 50)
    expected = persona.pace * WEEKDAYS[day.weekday()] * _season(day) * learning * (0.7 + 0.6 * progress)
    for hour in rng.choices(ROUND_HOURS, HOURS, k=_poisson(expected, rng)):
        moment = _moment(day, hour, persona.zone, rng)
        if persona.since <= moment < persona.until:
            yield _use(persona.owner, moment, _some_feature(rng), progress, rng)


def _spike(spike: Spike, progress: float, rng: random.Random) -> Iterator[MadeUse]:
    for _ in range(spike.uses):
        moment = _moment(spike.day, rng.randrange(24), ZoneInfo("UTC"), rng)
        yield _use(spike.owner, moment, CODE, progress, rng)


def _use(owner: Any, moment: datetime, feature: Feature, progress: float, rng: random.Random) -> MadeUse:
    model = rng.choices(MODELS, [model.first + (model.last - model.first) * progress for model in MODELS])[0]
    given = _around(feature.input, rng)
    cached = int(given * rng.uniform(0.2, 0.8)) if rng.random() < 0.35 else 0
    made = _around(feature.output, rng)
    cost = (model.input * (given - cached) + model.cached * cached + model.output * made) / 1_000_000
    return MadeUse(owner, moment, model.name, feature.name, given, cached, made, cost)


def _some_feature(rng: random.Random) -> Feature:
    return rng.choices(FEATURES, [feature.share for feature in FEATURES])[0]


def _around(usual: int, rng: random.Random) -> int:
    """Half lie below the usual size, a few far above: that is how prompts are."""
    return max(1, min(120_000, int(rng.lognormvariate(math.log(usual), 0.75))))


def _moment(day: date, hour: int, zone: ZoneInfo, rng: random.Random) -> datetime:
    wall = datetime.combine(day, time(hour, rng.randrange(60), rng.randrange(60), rng.randrange(1_000_000)), zone)
    return wall.astimezone(ZoneInfo("UTC"))


def _season(day: date) -> float:
    return next((left for start, end, left in QUIET if start <= (day.month, day.day) < end), 1.0)


def _poisson(expected: float, rng: random.Random) -> int:
    """How often something happens that happens `expected` times on average (Knuth's method; fine for small means)."""
    floor, count, product = math.exp(-expected), 0, rng.random()
    while product > floor:
        count += 1
        product *= rng.random()
    return count
