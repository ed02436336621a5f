"""The overview: figures from roll-ups, few queries, filters in the URL, and files of its charts."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4
from xml.etree import ElementTree

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone as clock
from django.utils import translation

from django_token_pricing import analytics, tokens
from django_token_pricing.admin.analytics import overview as page
from django_token_pricing.admin.base import charts
from django_token_pricing.models import ChartSlot, RollupState, SummaryRefresh, UsageDay
from tests import world
from tests.admin import site
from tests.analytics.rolled import roll_up

pytestmark = pytest.mark.django_db
Login = Callable[[Any], Client]

MOST_QUERIES = 15
EVIL = '<img src=x onerror="alert(1)">'


def overview(**query: Any) -> str:
    url = reverse("admin:django_token_pricing_usageday_changelist")
    return f"{url}?{urlencode(query, doseq=True)}" if query else url


def chart(name: str, extension: str, **query: Any) -> str:
    url = reverse("admin:django_token_pricing_usageday_chart", args=["overview", name, extension])
    return f"{url}?{urlencode(query, doseq=True)}" if query else url


def used(*, model: str = "gpt-4o", feature: str = "chat", amount: int = 100, days: int = 0, user: Any = None) -> None:
    """A use so many days ago, of a user with tokens."""
    user = user or world.new_user()
    tokens.grant(user, 10_000, source="manual")
    at = clock.now() - timedelta(days=days)
    use = tokens.Use(user, amount, key=uuid4().hex, model=model, feature=feature, used_at=at)
    tokens.record_many([use])


def text_of(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200, url
    return response.content.decode()


def queries(client: Client, url: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


@pytest.fixture
def analyst(db: None) -> Any:
    return site.staff("view_analytics", "export_analytics", "view_costs", "view_tokenaccount")


def test_an_empty_site_says_what_to_do_next(owners_client: Client) -> None:
    assert "token_pricing_rollups" in text_of(owners_client, overview())
    roll_up()
    assert "Grant tokens to an account" in text_of(owners_client, overview())


def test_what_was_granted_used_and_left_is_on_cards(owners_client: Client) -> None:
    user = world.new_user()
    tokens.grant(user, 8_000, source="manual")
    tokens.consume(user, 2_000, key="one", model="gpt-4o")
    tokens.hold(user, 500, key="held")
    roll_up()
    response = owners_client.get(overview())
    cards = {card.label: card for card in response.context["cards"]}
    assert cards["Allocated"].figure == "8k"
    assert cards["Consumed"].figure == "2k"
    assert cards["Held now"].figure == "500"
    assert cards["Utilisation"].figure == "25%"
    assert cards["Available now"].figure == "—"  # no refresh of the summaries yet


def test_it_takes_at_most_15_queries_however_much_there_is(analyst: Any, as_: Login) -> None:
    client = as_(analyst)
    for number in range(12):
        used(model=f"model-{number}", feature=f"feature-{number}", days=number)
    roll_up()
    for query in ({}, {"by": "feature"}, {"range": "90", "unit": "week"}, {"range": "7", "unit": "hour"}):
        text_of(client, overview(**query))
        assert queries(client, overview(**query)) <= MOST_QUERIES, query


def test_more_rows_take_no_more_queries(analyst: Any, as_: Login) -> None:
    client = as_(analyst)
    used()
    roll_up()
    text_of(client, overview())
    few = queries(client, overview())
    for number in range(30):
        used(model=f"model-{number}", days=number)
    roll_up()
    assert queries(client, overview()) == few


def test_costs_are_for_those_who_may_see_them(analyst: Any, as_: Login) -> None:
    used()
    roll_up()
    assert "USD" in text_of(as_(analyst), overview())
    text = text_of(as_(site.staff("view_analytics", "view_tokenaccount")), overview())
    assert "USD" not in text
    assert "Cost" not in text
    assert "Margin" not in text


def test_accounts_are_for_those_who_may_see_them(as_: Login) -> None:
    user = world.new_user()
    used(user=user)
    roll_up()
    text = text_of(as_(site.staff("view_analytics")), overview())
    assert "Accounts are hidden." in text
    assert user.get_username() not in text


def test_without_permission_nothing_is_shown(staff_without_permission: Any, as_: Login) -> None:
    used()
    roll_up()
    client = as_(staff_without_permission)
    for url in (overview(), chart("usage", "csv"), chart("usage", "svg")):
        assert client.get(url).status_code == 403, url


def test_nothing_can_be_posted(owners_client: Client) -> None:
    assert owners_client.post(overview()).status_code == 405


def test_files_need_the_right_to_export(as_: Login) -> None:
    used()
    roll_up()
    client = as_(site.staff("view_analytics"))
    assert "/charts/" not in text_of(client, overview())
    assert client.get(chart("usage", "csv")).status_code == 403


def test_filters_narrow_the_figures_and_stay_in_every_link(owners_client: Client) -> None:
    used(model="small", amount=10)
    used(model="large", amount=7_000)
    roll_up()
    response = owners_client.get(overview(model="small", range="7"))
    cards = {card.label: card.figure for card in response.context["cards"]}
    assert cards["Consumed"] == "10"
    text = response.content.decode()
    assert "Model: small" in text
    for link in response.context["bar"].presets:
        assert "model=small" in link.url
    for link in response.context["usage_chart"].downloads:
        assert "model=small" in link.url
        assert "range=7" in link.url
    (chip,) = response.context["bar"].chips
    assert "model" not in chip.url


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"first": "2026-11-20", "last": "2026-11-01"}, "ends before it begins"),
        ({"first": "2016-11-20", "last": "2026-11-01"}, "longer than five years"),
        ({"first": "1976-11-20", "last": "2026-11-01"}, "from 1 January 2000"),
        ({"first": "0001-01-01", "last": "0001-01-01"}, "from 1 January 2000"),
        ({"first": "2026-11-20", "last": "2999-11-01"}, "no usage after today"),
        ({"first": "2026-11-20"}, "first and the last day"),
        ({"range": "custom"}, "first and the last day"),
        ({"first": "yesterday", "last": "2026-11-01"}, "valid date"),
        ({"range": "century"}, "valid choice"),
        ({"unit": "second"}, "valid choice"),
        ({"by": "password"}, "valid choice"),
    ],
)
def test_days_that_cannot_be_shown_are_explained(query: dict[str, str], told: str, owners_client: Client) -> None:
    used()
    roll_up()
    response = owners_client.get(overview(**query))
    assert response.status_code == 200
    assert any(told in note.strong for note in response.context["notes"])


def test_what_filters_do_not_narrow_is_said(owners_client: Client) -> None:
    used()
    roll_up()
    assert "of the whole site" not in text_of(owners_client, overview())
    assert "of the whole site" in text_of(owners_client, overview(model="gpt-4o"))


def test_available_is_by_tier_where_only_tiers_are_chosen(owners_client: Client) -> None:
    used()
    roll_up()
    at = clock.now()
    tiers = {"a": {"accounts": 1, "available": 10}, "b": {"accounts": 2, "available": 500}}
    SummaryRefresh.objects.create(started_at=at, seen_at=at, finished_at=at, totals={"tiers": tiers})

    def available(**query: Any) -> Any:
        return next(card for card in owners_client.get(overview(**query)).context["cards"] if "Available" in card.label)

    assert (available().figure, available().note) == ("510", "in 3 accounts")
    assert (available(tier="a").figure, available(tier="a").note) == ("10", "in 1 account of these tiers")
    assert available(tier="a", model="gpt-4o").figure == "510"


@pytest.mark.parametrize("language", ["de", "ar", "fa", "pl"])
def test_drawings_have_the_same_numbers_in_every_language(language: str, owners_client: Client, settings: Any) -> None:
    settings.USE_THOUSAND_SEPARATOR = True
    used(amount=1_234_567)
    roll_up()
    with translation.override(language):
        response = owners_client.get(overview(), headers={"accept-language": language})
    assert response.status_code == 200
    root = ElementTree.fromstring(response.context["usage_chart"].chart.svg)  # noqa: S314 - our own drawing
    for element in root.iter("rect"):
        assert float(element.attrib["height"]) >= 0
        assert float(element.attrib["width"].rstrip("%")) > 0


@pytest.mark.parametrize(("difference", "text"), [(0.0, "±0 pt"), (0.016, "+1.6 pt"), (-0.5, "−50 pt")])
def test_differences_of_shares_are_points(difference: float, text: str) -> None:
    assert page.points(difference) == text


def test_names_in_the_url_are_harmless(owners_client: Client) -> None:
    used()
    roll_up()
    for name in (EVIL, "x" * 5_000, "\x00", "(none)", "none"):
        response = owners_client.get(overview(model=[name], tier=[name]))
        assert response.status_code == 200
        assert EVIL not in response.content.decode()


def test_a_name_with_markup_or_of_many_letters_is_drawn_as_text(owners_client: Client) -> None:
    used(model=EVIL)
    used(model="m" * 200)
    roll_up()
    text = text_of(owners_client, overview())
    assert EVIL not in text
    assert "&lt;img" in text
    for extension in ("svg", "png", "pdf", "csv"):
        assert owners_client.get(chart("usage", extension)).status_code == 200


def test_a_sixth_model_is_among_the_others(owners_client: Client) -> None:
    for number in range(7):
        used(model=f"model-{number}", amount=1_000 - number)
    roll_up()
    keys = owners_client.get(overview()).context["usage_chart"].chart.keys
    assert keys[0].name == "Other models"
    assert len(keys) == 6
    assert len({key.css for key in keys}) == 6


def test_a_model_keeps_its_colour_whatever_its_rank(owners_client: Client) -> None:
    used(model="first", amount=10)
    roll_up()
    before = owners_client.get(overview()).context["usage_chart"].chart.keys
    used(model="second", amount=9_000)
    roll_up()
    after = {key.name: key.css for key in owners_client.get(overview()).context["usage_chart"].chart.keys}
    assert after["first"] == before[0].css
    assert ChartSlot.objects.filter(dimension="model").count() == 2


def test_days_before_the_first_use_are_gaps(owners_client: Client) -> None:
    used(days=2)
    roll_up()
    table = owners_client.get(overview(range="7")).context["usage_chart"].chart.table
    assert [row.values[-1] for row in table.rows] == [None] * 4 + [100, 0, 0]


def test_the_numbers_of_a_chart_are_a_file_that_runs_no_formula(owners_client: Client) -> None:
    used(model="=cmd|' /C calc'!A0", amount=123)
    roll_up()
    response = owners_client.get(chart("usage", "csv", range="7"))
    assert response["Content-Disposition"].startswith("attachment")
    rows = list(csv.reader(io.StringIO(response.content.decode("utf-8-sig"))))
    assert rows[0] == ["Day", "'=cmd|' /C calc'!A0", "Total"]
    assert rows[-1] == [str(analytics.today()), "123", "123"]
    assert len(rows) == 8


def test_a_chart_as_svg_stands_alone(owners_client: Client) -> None:
    used()
    roll_up()
    for name in ("usage", "heat", "burn-down"):
        response = owners_client.get(chart(name, "svg"))
        root = ElementTree.fromstring(response.content)  # noqa: S314 - our own drawing
        assert float(root.attrib["width"]) > 0
        assert float(root.attrib["height"]) > 0
        text = response.content.decode()
        assert "class=" not in text
        assert "var(" not in text
        assert "data-tip" not in text


def test_charts_are_pictures_where_the_extra_is_installed(owners_client: Client) -> None:
    pytest.importorskip("vl_convert")
    used()
    roll_up()
    assert owners_client.get(chart("usage", "png")).content.startswith(b"\x89PNG")
    assert owners_client.get(chart("heat", "pdf")).content.startswith(b"%PDF")


def test_without_the_extra_pictures_say_what_to_install(owners_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    used()
    roll_up()
    monkeypatch.setitem(__import__("sys").modules, "vl_convert", None)
    response = owners_client.get(chart("usage", "png"))
    assert response.status_code == 501
    assert "django-token-pricing[charts]" in response.content.decode()
    names = [link.text for link in owners_client.get(overview()).context["usage_chart"].downloads]
    assert names == ["SVG", "CSV"]
    assert not charts.files.has_renderer()


@pytest.mark.parametrize(
    "args", [["nopage", "usage", "csv"], ["overview", "nochart", "csv"], ["overview", "usage", "exe"]]
)
def test_what_is_no_chart_is_not_found(args: list[str], owners_client: Client) -> None:
    assert owners_client.get(reverse("admin:django_token_pricing_usageday_chart", args=args)).status_code == 404


def test_a_chart_of_days_without_use_is_not_found(owners_client: Client) -> None:
    used()
    roll_up()
    query = {"first": "2020-01-01", "last": "2020-01-31"}
    assert owners_client.get(chart("usage", "svg", **query)).status_code == 404
    assert "No use in these days." in text_of(owners_client, overview(**query))


def test_uses_without_a_cost_are_named(owners_client: Client) -> None:
    used(model="nobody-knows")
    roll_up()
    response = owners_client.get(overview())
    assert any("100%" in note.strong and "nobody-knows" in note.text for note in response.context["notes"])


def test_old_roll_ups_are_said_to_be_old(owners_client: Client) -> None:
    used()
    roll_up()
    assert not owners_client.get(overview()).context["view"].late_note()
    RollupState.objects.update(folded_at=clock.now() - timedelta(minutes=16))
    assert owners_client.get(overview()).context["view"].late_note()


def test_five_years_are_shown_by_the_month(owners_client: Client) -> None:
    used(days=700)
    used()
    roll_up()
    today = analytics.today()
    first = today - timedelta(days=1_800)
    course = owners_client.get(overview(first=first, last=today)).context["view"].course
    assert course.unit == "month"
    assert course.whole.requests == 2


def test_the_index_of_the_app_leads_here(as_: Login) -> None:
    text = text_of(as_(site.staff("view_analytics")), site.index())
    assert "Analytics" in text
    assert overview() in text


def test_hours_are_those_of_the_reporting_zone(owners_client: Client, settings: Any) -> None:
    at = datetime(2026, 3, 29, 0, 30, tzinfo=timezone.utc)  # the night in which Berlin skips an hour
    UsageDay.objects.create(day=date(2026, 3, 29), model="m", tokens=5, requests=1)
    RollupState.objects.create(zone="Europe/Berlin", folded_at=at)
    period = analytics.Period(date(2026, 3, 29), date(2026, 3, 30))
    course = analytics.series(period, "model", unit="hour")
    assert len(course.starts) == 23
