"""The forecast page: what it shows, to whom, and what it says of the method."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_token_pricing import analytics
from django_token_pricing.analytics import exponential
from django_token_pricing.models import Forecast, UsageDay
from tests.admin import site

pytestmark = pytest.mark.django_db
Login = Callable[[Any], Client]
EVIL = '<img src=x onerror="alert(1)">'


@pytest.fixture(autouse=True)
def without_statsmodels(monkeypatch: Any) -> None:
    monkeypatch.setattr(exponential, "is_installed", lambda: False)


def url(**query: Any) -> str:
    path = reverse("admin:django_token_pricing_usageday_forecast")
    return f"{path}?{urlencode(query)}" if query else path


def make(days: int = 60, **fields: Any) -> None:
    today = analytics.today()
    rows = []
    for ago in range(1, days + 1):
        day = today - timedelta(days=ago)
        tokens = 1_000 + 100 * day.weekday()
        given = {"model": "gpt-4o", "tier": "team", "tokens": tokens, "requests": 1, "cost": tokens / 1_000}
        rows.append(UsageDay(day=day, **{**given, **fields}))
    UsageDay.objects.bulk_create(rows)
    analytics.make_forecasts()


def text(client: Client, **query: Any) -> str:
    response = client.get(url(**query))
    assert response.status_code == 200
    return response.content.decode()


def test_before_the_first_forecast_the_page_says_what_to_do(owners_client: Client) -> None:
    assert "There is no forecast yet." in text(owners_client)


def test_the_page_gives_the_sum_the_interval_and_the_errors_of_the_methods(owners_client: Client) -> None:
    make()
    page = text(owners_client, days=7)

    assert "9.1k in the next 7 days; between" in page
    assert "Seasonal naive: as a week before" in page
    assert "Naive: the mean of four weeks" in page
    assert "This is a naive guess" in page
    assert "asked 6 times" in page or "times in the past" in page
    assert "Made " in page


@pytest.mark.parametrize("days", [7, 14, 30, 90])
def test_each_horizon_shows_as_many_days(owners_client: Client, days: int) -> None:
    make()

    assert len(list(owners_client.get(url(days=days)).context["days"])) == days


def test_a_tier_and_a_model_can_be_chosen(owners_client: Client) -> None:
    make()
    assert "Tokens of tier team" in text(owners_client, of="tier:team")
    assert "Tokens of gpt-4o" in text(owners_client, of="model:gpt-4o")


@pytest.mark.parametrize(
    "query",
    [{"of": "model:nothing"}, {"of": "x\0"}, {"days": "-1"}, {"metric": "margin"}, {"of": "site:x", "days": "1e9"}],
)
def test_what_there_is_no_forecast_of_shows_the_site(owners_client: Client, query: dict[str, str]) -> None:
    make()

    assert "Tokens of the site" in text(owners_client, **query)


def test_costs_are_for_who_may_see_costs(as_: Login) -> None:
    make()
    client = as_(site.staff("view_analytics", "view_costs"))
    assert "Cost of the site" in text(client, metric="cost")
    client = as_(site.staff("view_analytics"))
    page = text(client, metric="cost")
    assert "Tokens of the site" in page
    assert "metric=" not in text(client)


def test_who_may_not_see_analytics_gets_nothing(as_: Login) -> None:
    make()
    assert as_(site.staff("view_costs")).get(url()).status_code == 403
    assert as_(site.staff(is_staff=False)).get(url()).status_code == 302


def test_too_little_history_is_said(owners_client: Client) -> None:
    make(5)

    assert "Too little history." in text(owners_client)


def test_a_method_that_beats_nothing_is_said_to(owners_client: Client) -> None:
    make()
    Forecast.objects.update(note="not_better")

    assert "Exponential smoothing does not beat the naive guesses here." in text(owners_client)


def test_an_old_forecast_is_said_to_be_old(owners_client: Client) -> None:
    make()
    Forecast.objects.update(made_at=timezone.now() - timedelta(days=5))

    assert "days old." in text(owners_client).replace("\xa0", " ")


def test_names_are_escaped(owners_client: Client) -> None:
    make(model=EVIL)
    page = text(owners_client, of=f"model:{EVIL}")

    assert EVIL not in page
    assert "&lt;img src=x" in page


def test_the_chart_can_be_had_as_a_file(owners_client: Client) -> None:
    make()
    path = reverse("admin:django_token_pricing_usageday_chart", args=["forecast", "forecast", "csv"])
    response = owners_client.get(f"{path}?days=7")

    assert response.status_code == 200
    assert b"Forecast" in response.content


@pytest.mark.parametrize("days", [20, 200])
def test_the_page_asks_as_little_however_long_the_history_is(
    owners_client: Client, days: int, django_assert_max_num_queries: Any
) -> None:
    make(days)
    owners_client.get(url())
    with django_assert_max_num_queries(9):
        owners_client.get(url(days=90))
