"""Which days, tiers, models and features the parameters of a page mean."""

from __future__ import annotations

from datetime import date

import pytest
from django.http import QueryDict
from django.utils import timezone

from django_token_pricing import analytics
from django_token_pricing.filters import analytics as filters
from django_token_pricing.filters.analytics import AnalyticsFilter
from django_token_pricing.models import UsageDay
from tests.analytics.rows import used

TODAY = date(2026, 11, 23)


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analytics, "today", lambda: TODAY)


def of(query: str) -> AnalyticsFilter:
    return AnalyticsFilter(QueryDict(query))


@pytest.mark.parametrize(
    ("query", "first", "last", "preset"),
    [
        ("", date(2026, 10, 25), TODAY, "30"),
        ("range=today", TODAY, TODAY, "today"),
        ("range=7", date(2026, 11, 17), TODAY, "7"),
        ("range=90", date(2026, 8, 26), TODAY, "90"),
        ("range=month", date(2026, 11, 1), TODAY, "month"),
        ("range=last-month", date(2026, 10, 1), date(2026, 10, 31), "last-month"),
        ("range=custom&first=2026-01-05&last=2026-01-05", date(2026, 1, 5), date(2026, 1, 5), "custom"),
        ("first=2026-01-05&last=2026-02-05", date(2026, 1, 5), date(2026, 2, 5), "custom"),
        ("range=7&first=2026-01-05&last=2026-02-05", date(2026, 11, 17), TODAY, "7"),
        ("range=7&unit=second", date(2026, 11, 17), TODAY, "7"),
    ],
)
def test_a_range_is_days(query: str, first: date, last: date, preset: str) -> None:
    found = of(query)
    assert (found.period.first, found.period.last, found.preset) == (first, last, preset)


@pytest.mark.parametrize(
    ("today", "name", "first", "last"),
    [
        (date(2026, 1, 1), "month", date(2026, 1, 1), date(2026, 1, 1)),
        (date(2026, 1, 1), "last-month", date(2025, 12, 1), date(2025, 12, 31)),
        (date(2028, 3, 31), "last-month", date(2028, 2, 1), date(2028, 2, 29)),
    ],
)
def test_months_begin_and_end_with_the_calendar(today: date, name: str, first: date, last: date) -> None:
    period = filters.preset(name, today)
    assert (period.first, period.last) == (first, last)


@pytest.mark.parametrize(
    "query",
    [
        "first=2026-11-02&last=2026-11-01",
        "first=2020-11-02&last=2026-11-01",
        "first=2026-11-02&last=2026-11-24",
        "first=2026-11-02",
        "first=9999-12-31&last=9999-12-31",
        "first=0001-01-01&last=0001-01-02",
        "range=custom",
        "range=forever",
        "first=30.2.2026&last=2026-11-01",
    ],
)
def test_days_that_cannot_be_shown_give_an_error_and_the_usual_ones(query: str) -> None:
    found = of(query)
    assert found.errors_told
    assert found.period == filters.preset("30", TODAY)
    assert found.preset == "30"


def test_names_are_a_slice() -> None:
    found = of("model=a&model=(none)&model=a&model=&tier=t&feature=<b>")
    assert found.slice == analytics.Slice(models=("a", ""), tiers=("t",), features=("<b>",))
    assert found.names("model") == ["a", "(none)"]


def test_names_that_no_usage_could_have_are_left_out() -> None:
    many = "&".join(f"model=m{number}" for number in range(50))
    assert len(of(many).slice.models) == 20
    assert of("model=" + "x" * 201).slice == analytics.ALL
    assert of("model=%00").slice == analytics.ALL


def test_what_is_not_known_falls_back() -> None:
    found = of("by=password&unit=second")
    assert (found.dimension, found.wanted_unit) == ("model", "")
    found = of("by=tier&unit=week")
    assert (found.dimension, found.wanted_unit) == ("tier", "week")


@pytest.mark.django_db
def test_it_filters_rows_of_a_roll_up() -> None:
    used(TODAY, model="a")
    used(TODAY, model="b")
    used(date(2026, 1, 1), model="a")
    rows = AnalyticsFilter(QueryDict("model=a"), UsageDay.objects.all()).qs
    assert [(row.day, row.model) for row in rows] == [(TODAY, "a")]


def test_today_is_that_of_the_reporting_zone(settings: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert of("range=today").period.first == timezone.now().astimezone(analytics.zone()).date()
