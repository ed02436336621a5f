"""Forecasts as they are stored: of what, from which days, with which method, and what is said of its errors."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from django_token_pricing import analytics, tasks
from django_token_pricing.analytics import exponential, forecasting
from django_token_pricing.exceptions import InvalidMoment
from django_token_pricing.models import Forecast, UsageDay
from tests.analytics.hours import NOW

pytestmark = pytest.mark.django_db

TODAY = NOW.date()
SHAPE = [1_000, 1_200, 1_100, 1_300, 900, 400, 300]


@pytest.fixture(autouse=True)
def without_statsmodels(monkeypatch: Any) -> None:
    monkeypatch.setattr(exponential, "is_installed", lambda: False)


def use(
    days: int, *, model: str = "gpt-4o", tier: str = "team", gaps: tuple[int, ...] = (), noise: float = 0.0
) -> None:
    """The days before today with a season of the week; `gaps` are days ago without anything."""
    rng = random.Random(1)
    rows = []
    for ago in range(1, days + 1):
        day = TODAY - timedelta(days=ago)
        tokens = round(SHAPE[day.weekday()] * (1 + noise * rng.gauss(0, 1)))
        if ago not in gaps:
            rows.append(UsageDay(day=day, model=model, tier=tier, tokens=tokens, requests=10, cost=tokens / 1_000))
    UsageDay.objects.bulk_create(rows, batch_size=500)


def made(scope: str = "site", name: str = "", metric: str = "tokens") -> Forecast:
    analytics.make_forecasts(as_of=NOW)
    found = analytics.newest_forecast(scope, name, metric)
    assert found is not None
    return found


def test_without_any_usage_there_is_no_forecast() -> None:
    assert analytics.make_forecasts(as_of=NOW).made == 0


def test_the_site_each_tier_and_each_model_have_one_of_tokens_and_one_of_cost() -> None:
    use(30)
    use(30, model="claude", tier="")
    analytics.make_forecasts(as_of=NOW)

    assert set(Forecast.objects.values_list("scope", "name", "metric")) == {
        (scope, name, metric)
        for scope, name in (("site", ""), ("tier", "team"), ("model", "gpt-4o"), ("model", "claude"))
        for metric in ("tokens", "cost")
    }


def test_the_day_that_is_not_over_does_not_count() -> None:
    use(30)
    UsageDay.objects.create(day=TODAY, model="gpt-4o", tokens=1_000_000)
    forecast = made()

    assert forecast.last_day == TODAY - timedelta(days=1)
    assert forecast.points[0][0] == TODAY.isoformat()
    assert forecast.points[0][1] == SHAPE[TODAY.weekday()]
    assert (len(forecast.points), forecast.horizon) == (90, 90)


def test_a_weekly_season_is_told_by_the_week_before_and_named_so() -> None:
    use(60, noise=0.03)
    forecast = made()

    assert (forecast.method, forecast.is_better, forecast.note) == ("seasonal-naive", False, "not_installed")
    errors = forecast.backtest["errors"]
    assert errors["seasonal-naive"]["mae"] < errors["recent-mean"]["mae"]
    assert forecast.backtest["origins"] >= 4
    assert len(forecast.backtest["said"]) == 20


def test_a_day_of_which_nothing_is_known_is_a_gap_and_no_zero() -> None:
    use(60, gaps=(3,))
    forecast = made()
    same_weekday = (TODAY - timedelta(days=3)).weekday()
    told = next(point for point in forecast.points if date.fromisoformat(point[0]).weekday() == same_weekday)

    assert told[1] == SHAPE[same_weekday]


def test_a_weekday_on_which_nobody_works_is_zero() -> None:
    rows = [TODAY - timedelta(days=ago) for ago in range(1, 61)]
    UsageDay.objects.bulk_create(UsageDay(day=day, tokens=500) for day in rows if day.weekday() < 5)
    forecast = made()

    assert {point[1] for point in forecast.points if date.fromisoformat(point[0]).weekday() >= 5} == {0}


def test_a_model_that_was_not_used_while_others_were_used_nothing() -> None:
    use(60)
    use(40, model="claude", gaps=tuple(range(1, 15)))
    forecast = made("model", "claude")

    assert {point[1] for point in forecast.points} == {0}


def test_less_than_two_weeks_are_said_to_be_too_little() -> None:
    use(10)
    forecast = made()

    assert (forecast.method, forecast.note, forecast.points) == ("none", "short", [])


def test_one_day_and_all_zeros_make_no_trouble() -> None:
    UsageDay.objects.create(day=TODAY - timedelta(days=1), model="gpt-4o", tokens=5)
    assert made().note == "short"
    UsageDay.objects.all().delete()
    UsageDay.objects.bulk_create(UsageDay(day=TODAY - timedelta(days=ago), model="zero") for ago in range(1, 61))
    assert {tuple(point[1:]) for point in made("model", "zero").points} == {(0, 0, 0)}


def test_only_the_newest_ones_are_kept(monkeypatch: Any) -> None:
    monkeypatch.setattr(forecasting, "KEPT", 2)
    use(20)
    for hours in range(4):
        analytics.make_forecasts(as_of=NOW + timedelta(hours=hours))

    kept = Forecast.objects.filter(scope="site", metric="tokens").order_by("made_at").values_list("made_at", flat=True)
    assert list(kept) == [NOW + timedelta(hours=2), NOW + timedelta(hours=3)]


def test_the_most_used_alone_have_one(monkeypatch: Any) -> None:
    monkeypatch.setattr(forecasting, "MOST_NAMES", 1)
    use(20)
    use(20, model="claude")
    use(19, model="claude", tier="other")
    analytics.make_forecasts(as_of=NOW)

    assert analytics.forecast_names() == {"site": [""], "tier": ["team"], "model": ["claude"]}


def test_the_task_says_how_many_it_made() -> None:
    use(20)

    assert tasks.analytics.forecast(as_of=NOW.isoformat()) == {"forecasts": 6}


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidMoment):
        analytics.make_forecasts(as_of=datetime(2026, 11, 1))  # noqa: DTZ001


class TestStatsmodels:
    @pytest.fixture(autouse=True)
    def with_statsmodels(self, monkeypatch: Any, without_statsmodels: None) -> None:
        pytest.importorskip("statsmodels")
        monkeypatch.setattr(exponential, "is_installed", lambda: True)
        monkeypatch.setattr(forecasting, "ORIGINS", 2)

    def test_where_it_beats_both_naive_ones_it_is_what_is_told(self) -> None:
        rows = []
        rng = random.Random(4)
        for ago in range(1, 101):
            day = TODAY - timedelta(days=ago)
            tokens = round((SHAPE[day.weekday()] + 20 * (100 - ago)) * (1 + 0.05 * rng.gauss(0, 1)))
            rows.append(UsageDay(day=day, tokens=tokens))
        UsageDay.objects.bulk_create(rows)
        forecast = made()

        assert (forecast.method, forecast.is_better, forecast.note) == ("ets", True, "")
        errors = forecast.backtest["errors"]
        assert errors["ets"]["mae"] < min(errors["seasonal-naive"]["mae"], errors["recent-mean"]["mae"])
        assert all(0 <= low <= value <= high for _day, value, low, high in forecast.points)

    def test_where_it_does_not_the_better_naive_one_is_told_and_it_is_said(self) -> None:
        use(100)
        forecast = made()

        assert (forecast.method, forecast.is_better, forecast.note) == ("seasonal-naive", False, "not_better")
        assert "ets" in forecast.backtest["errors"]

    def test_with_less_than_six_weeks_it_is_not_asked(self) -> None:
        use(40)

        assert made().note == "not_fitted"

    def test_zeros_and_gaps_make_no_trouble(self) -> None:
        UsageDay.objects.bulk_create(UsageDay(day=TODAY - timedelta(days=ago), model="zero") for ago in range(1, 61))
        use(80, gaps=(5, 6, 40, 80))

        assert len(made("model", "zero").points) == 90
        assert len(made().points) == 90
