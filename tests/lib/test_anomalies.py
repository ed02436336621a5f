"""The detector: what it finds of planted faults, what it makes up, and that no series makes it fail.

`python -m tests.lib.test_anomalies [seed] [sensitivity]` prints the figures of a whole suite.
"""

from __future__ import annotations

import math
import random
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_token_pricing.lib import anomalies
from tests.lib.planted import START, Planted, planted, suite

SLACK = timedelta(hours=6)


def measured(series: Iterable[Planted], sensitivity: int = 5) -> tuple[Counter[str], Counter[str], int, float]:
    """By kind of fault how many were found, and how many there are; the false alarms, and in how many weeks."""
    found: Counter[str] = Counter()
    there: Counter[str] = Counter()
    false, weeks = 0, 0.0
    for one in series:
        hits = anomalies.detect(one.points, sensitivity=sensitivity)
        step = one.points[1][0] - one.points[0][0]
        right = set()
        for fault in one.faults:
            touching = [
                number
                for number, hit in enumerate(hits)
                if hit.starts_at <= fault.ends_at + max(2 * step, SLACK) and hit.ends_at >= fault.starts_at - step
            ]
            right.update(touching)
            there[fault.kind] += 1
            found[fault.kind] += bool(touching)
        false += len(hits) - len(right)
        weeks += one.weeks
    return found, there, false, weeks


def hourly(days: int, *, noise: float = 0.03, seed: int = 1, growth: float = 0.0) -> list[tuple[datetime, float]]:
    rng = random.Random(seed)
    points = []
    for hour in range(days * 24):
        wave = 1 + 0.5 * math.sin(2 * math.pi * hour / 24)
        points.append(
            (START + timedelta(hours=hour), 1_000 * wave * (1 + growth * hour) * (1 + noise * rng.gauss(0, 1)))
        )
    return points


def test_most_planted_faults_are_found_with_few_false_alarms() -> None:
    series = [
        planted(seed, minutes, days, shape, ("spike", "dip", "shift", "silence"), is_heavy=is_heavy)
        for seed, (minutes, days, shape, is_heavy) in enumerate(
            [
                (60, 56, "season", False),
                (60, 56, "drift", True),
                (30, 42, "season", True),
                (30, 42, "hourly_job", False),
                (5, 14, "flat", False),
                (60, 42, "walk", False),
            ],
            start=300,
        )
    ]
    found, there, false, weeks = measured(series)

    assert sum(found.values()) >= 0.8 * sum(there.values())
    assert false / weeks < 0.5


def test_seasons_noise_growth_and_gaps_alone_raise_hardly_an_alarm() -> None:
    series = [planted(seed, 60, 56, "drift", ("missing",)) for seed in range(3)]
    _found, _there, false, weeks = measured(series)

    assert false / weeks < 0.5


def test_a_spike_is_told_with_its_moment_and_numbers() -> None:
    points = hourly(28)
    points[600] = (points[600][0], 9_000.0)
    (hit,) = anomalies.detect(points)

    assert hit.kind == anomalies.SPIKE
    assert hit.starts_at == hit.at == points[600][0]
    assert hit.value == 9_000
    assert hit.low <= hit.expected <= hit.high < 9_000
    assert hit.expected == pytest.approx(1_000, rel=0.2)
    assert hit.score > 4


def test_silence_in_a_series_that_never_was_silent_is_one_dip() -> None:
    points = [(at, 0.0 if 600 <= place < 606 else value) for place, (at, value) in enumerate(hourly(28))]
    (hit,) = anomalies.detect(points)

    assert hit.starts_at == points[600][0]
    assert hit.kind == anomalies.DIP


def test_a_shift_of_the_level_is_told_once_and_not_each_hour_after_it() -> None:
    points = [(at, value * (2 if place >= 600 else 1)) for place, (at, value) in enumerate(hourly(42))]
    hits = anomalies.detect(points)

    assert [hit.starts_at for hit in hits] == [points[600][0]]


def test_growth_is_no_anomaly() -> None:
    assert anomalies.detect(hourly(56, growth=0.002)) == []


def test_a_job_at_the_same_hour_each_day_is_none() -> None:
    points = [(at, value + (20_000 if at.hour == 3 else 0)) for at, value in hourly(28)]

    assert anomalies.detect(points) == []


def test_what_happens_again_and_again_is_told_no_more() -> None:
    rng = random.Random(5)
    points = [(at, value + (9_000 if rng.random() < 0.05 else 0)) for at, value in hourly(90)]

    assert len(anomalies.detect(points)) < 8


def test_a_day_unlike_its_weekday_is_found_in_a_series_of_days() -> None:
    rng = random.Random(2)
    points: list[tuple[date, float]] = []
    for day in range(200):
        at = date(2026, 1, 5) + timedelta(days=day)
        points.append((at, (300 if at.weekday() >= 5 else 1_000) * (1 + 0.04 * rng.gauss(0, 1))))
    # A Wednesday like a Sunday: nothing out of the ordinary but for its weekday.
    points[142] = (points[142][0], 300.0)

    assert [hit.starts_at for hit in anomalies.detect(points)] == [points[142][0]]


def test_the_sensitivity_lets_more_or_less_through() -> None:
    points = [(at, value * (1.35 if place in (500, 700, 800) else 1)) for place, (at, value) in enumerate(hourly(42))]
    counts = [len(anomalies.detect(points, sensitivity=sensitivity)) for sensitivity in (1, 5, 10)]

    assert counts == sorted(counts)
    assert counts[0] < counts[2]


def test_a_finding_does_not_depend_on_what_came_after_it() -> None:
    points = hourly(42)
    points[700] = (points[700][0], 9_000.0)
    whole, until_then = anomalies.detect(points), anomalies.detect(points[:701])

    assert points[700][0] in [hit.starts_at for hit in until_then]
    assert points[700][0] in [hit.starts_at for hit in whole]


def test_gaps_and_what_is_no_number_are_passed_over() -> None:
    points: list[tuple[datetime, Any]] = list(hourly(28))
    for place in range(300, 320):
        points[place] = (points[place][0], random.Random(place).choice([None, math.nan, math.inf, "x"]))
    del points[400:430]

    assert anomalies.detect(points) == []


def test_the_order_of_the_points_does_not_matter() -> None:
    points = hourly(28)
    points[600] = (points[600][0], 9_000.0)

    assert anomalies.detect(reversed(points)) == anomalies.detect(points)


@pytest.mark.parametrize("value", [0.0, 5.0, 1e308, -3.0])
def test_a_series_of_one_value_has_no_anomaly(value: float) -> None:
    assert anomalies.detect([(START + timedelta(hours=hour), value) for hour in range(500)]) == []


@pytest.mark.parametrize("count", [0, 1, 2, 23])
def test_a_short_series_has_no_anomaly(count: int) -> None:
    assert anomalies.detect(hourly(2)[:count]) == []


def test_moments_that_are_centuries_apart_take_no_room() -> None:
    points = [*hourly(3), (datetime(1700, 1, 1, tzinfo=timezone.utc), 1.0)]

    assert anomalies.detect(points) == []


VALUES = st.one_of(
    st.none(), st.just(0.0), st.floats(allow_nan=True, allow_infinity=True), st.integers(0, 10**19), st.floats(0, 1_000)
)


@settings(max_examples=60)
@given(st.lists(VALUES, max_size=200), st.sampled_from([60, 3_600, 86_400]), st.integers(1, 10))
def test_any_series_gives_findings_in_order_or_none(values: list[Any], step: int, sensitivity: int) -> None:
    points = [(START + timedelta(seconds=place * step), value) for place, value in enumerate(values)]
    hits = anomalies.detect(points, sensitivity=sensitivity)

    assert [hit.starts_at for hit in hits] == sorted(hit.starts_at for hit in hits)
    for hit in hits:
        assert hit.starts_at <= hit.at <= hit.ends_at or hit.step > step
        assert hit.low <= hit.expected <= hit.high
        assert all(math.isfinite(number) for number in (hit.value, hit.expected, hit.score))


if __name__ == "__main__":
    seed, sensitivity = (int(text) for text in (*sys.argv[1:], *("7000", "5")[len(sys.argv) - 1 :]))
    found, there, false, weeks = measured(suite(seed), sensitivity)
    lines = [f"{kind:10} {found[kind]:3} of {there[kind]:3}" for kind in sorted(there)]
    lines.append(f"recall {sum(found.values()) / sum(there.values()):.2f}, {false / weeks:.2f} false alarms a week")
    sys.stdout.write("\n".join([*lines, ""]))
