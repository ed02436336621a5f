"""The naive methods, their intervals and the back-test, on series made for it and on any."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_token_pricing.lib import forecast

VALUES = st.one_of(
    st.none(), st.just(0.0), st.floats(0, 1e6), st.floats(0, 1.7e308), st.just(math.nan), st.just(math.inf)
)


def weekly(days: int, *, noise: float = 0.05, growth: float = 0.0, seed: int = 1) -> list[float | None]:
    rng = random.Random(seed)
    shape = [1.0, 1.2, 1.1, 1.3, 0.9, 0.4, 0.3]
    return [1_000 * shape[day % 7] * (1 + growth * day) * (1 + noise * rng.gauss(0, 1)) for day in range(days)]


def test_seasonal_naive_repeats_the_last_week() -> None:
    history = [float(day) for day in range(21)]

    assert forecast.seasonal_naive(history, 10) == [14, 15, 16, 17, 18, 19, 20, 14, 15, 16]


def test_seasonal_naive_takes_the_week_before_for_a_day_that_was_not_measured() -> None:
    history: list[float | None] = [float(day) for day in range(21)]
    history[15] = None

    assert forecast.seasonal_naive(history, 3) == [14, 8, 16]


def test_the_recent_mean_is_that_of_four_weeks_without_gaps() -> None:
    history: list[float | None] = [1_000.0] * 10 + [10.0] * 27 + [None]

    assert forecast.recent_mean(history, 2) == [10, 10]


def test_the_back_test_gives_what_a_count_by_hand_gives() -> None:
    history = weekly(60)
    found = forecast.back_test(history, forecast.NAIVE, days=7, origins=3)

    said, scales, total = [], [], 0.0
    for origin in (39, 46, 53):
        for day in range(7):
            said.append(abs(history[origin + day] - history[origin + day - 7]))
            total += history[origin + day]
            past = [abs(history[place] - history[place - 7]) for place in range(7, origin)]
            scales.append(sum(past) / len(past))
    errors = found.errors[forecast.SEASONAL]
    assert found.origins == 3
    assert errors.days == 21
    assert errors.mae == pytest.approx(sum(said) / 21)
    assert errors.wape == pytest.approx(sum(said) / total)
    assert errors.mase == pytest.approx(sum(said) / sum(scales))


def test_a_weekly_season_is_told_better_by_the_week_before_than_by_the_mean() -> None:
    found = forecast.back_test(weekly(120), forecast.NAIVE, days=28)

    assert found.best(list(forecast.NAIVE)) == forecast.SEASONAL
    assert found.beats(forecast.SEASONAL, [forecast.MEAN])
    assert not found.beats(forecast.MEAN, [forecast.SEASONAL])


def test_noise_without_a_season_is_told_better_by_the_mean() -> None:
    rng = random.Random(3)
    history = [100 + 10 * rng.gauss(0, 1) for _ in range(120)]

    assert forecast.back_test(history, forecast.NAIVE, days=28).best(list(forecast.NAIVE)) == forecast.MEAN


def test_the_interval_holds_about_four_of_five_days_that_come() -> None:
    inside = days = 0
    for seed in range(20):
        history = weekly(200, noise=0.1, seed=seed)
        past, future = history[:172], history[172:]
        tested = forecast.back_test(past, forecast.NAIVE, days=28)
        told = forecast.seasonal_naive(past, 28)
        points = forecast.with_interval(told, tested.off[forecast.SEASONAL])
        inside += sum(point.low <= value <= point.high for point, value in zip(points, future, strict=True))
        days += 28
    assert 0.7 < inside / days < 0.95


def test_the_interval_never_narrows_with_the_days_ahead() -> None:
    tested = forecast.back_test(weekly(120, growth=0.01), forecast.NAIVE, days=90)
    points = forecast.with_interval([1_000.0] * 90, tested.off[forecast.SEASONAL])
    widths = [point.high - point.low for point in points]

    assert widths == sorted(widths)
    assert widths[-1] > widths[27]


def test_all_zeros_are_forecast_as_zeros_with_errors_of_nothing() -> None:
    history = [0.0] * 60
    tested = forecast.back_test(history, forecast.NAIVE, days=28)

    assert forecast.seasonal_naive(history, 7) == [0] * 7
    assert tested.errors[forecast.SEASONAL] == forecast.Errors(0, None, None, tested.errors[forecast.SEASONAL].days)


@pytest.mark.parametrize("history", [[], [None] * 40, [5.0], [5.0] * 13, [None] * 30 + [1.0] * 13])
def test_less_than_two_weeks_are_too_little(history: list[float | None]) -> None:
    assert not forecast.is_enough(forecast.cleaned(history))


def test_two_weeks_are_tested_once() -> None:
    tested = forecast.back_test(weekly(14), forecast.NAIVE, days=90)

    assert tested.origins == 1
    assert tested.errors[forecast.SEASONAL].days == 7


@given(st.lists(VALUES, max_size=120), st.integers(1, 90))
def test_any_history_gives_ordered_intervals_above_zero_or_nothing(raw: list[float | None], days: int) -> None:
    history = forecast.cleaned(raw)
    tested = forecast.back_test(history, forecast.NAIVE, days=days)
    for name, method in forecast.NAIVE.items():
        told = method(history, days)
        if told is None:
            assert not any(value is not None for value in history)
            continue
        points = forecast.with_interval(told, tested.off.get(name, {}))
        assert len(points) == days
        for point in points:
            assert 0 <= point.low <= point.value <= point.high < math.inf
    for errors in tested.errors.values():
        assert errors.mae >= 0
        assert errors.wape is None or 0 <= errors.wape < math.inf
