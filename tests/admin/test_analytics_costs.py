"""The pages of cost, margin and utilisation: who may look, what they say, and what they cost to show."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_token_pricing import analytics
from django_token_pricing.models import AccountSummary, RollupState, SummaryRefresh, TierAdvice, TokenAccount
from tests.admin import site
from tests.analytics.rows import account, earned, month, used

pytestmark = pytest.mark.django_db

Login = Callable[[Any], Client]
MOST_QUERIES = 18


def url(page: str, query: str = "") -> str:
    address = reverse(f"admin:django_token_pricing_usageday_{page}")
    return f"{address}?{query}" if query else address


@pytest.fixture(autouse=True)
def rolled_up(db: None) -> None:
    RollupState.objects.create(zone=str(analytics.zone()), folded_at=timezone.now())


@pytest.fixture
def analyst() -> Any:
    return site.staff("view_analytics", "view_costs", "export_analytics", "view_tokenaccount")


def text(client: Client, page: str, query: str = "") -> str:
    response = client.get(url(page, query))
    assert response.status_code == 200, response.status_code
    return str(response.content.decode())


def today() -> date:
    return analytics.today()


# Cost and margin


def test_costs_are_refused_to_who_may_not_see_them(as_: Login) -> None:
    assert as_(site.staff("view_analytics")).get(url("costs")).status_code == 403
    assert as_(site.staff("view_costs")).get(url("costs")).status_code == 403
    assert as_(site.staff("view_analytics", "view_costs")).get(url("costs")).status_code == 200


def test_the_page_says_what_was_earned_and_what_it_cost(as_: Login, analyst: Any) -> None:
    used(today(), cost="2.50", requests=4, tokens=1_000)
    earned(today(), "10")
    earned(today(), "3", kind="expire")
    found = text(as_(analyst), "costs")
    for words in ("USD 13.00", "USD 2.50", "USD 10.50", "81%", "Breakage", "Expired unused", "USD 7.50", "gpt-4o"):
        assert words in found


def test_a_cost_that_is_not_known_is_a_dash_and_a_note(as_: Login, analyst: Any) -> None:
    used(today(), model="brand-new", cost=0, unpriced=2, requests=2)
    found = text(as_(analyst), "costs")
    assert "Of 100% of the uses the cost is not known." in found
    assert "They are of brand-new." in found


def test_revenue_without_a_rate_is_told_beside_the_margin(as_: Login, analyst: Any) -> None:
    earned(today(), "500", "INR")
    found = text(as_(analyst), "costs")
    assert "INR 500.00 of revenue are not in the margin." in found


@pytest.mark.parametrize("by", ["model", "feature", "tier", "month"])
def test_each_dimension_can_be_looked_at(as_: Login, analyst: Any, by: str) -> None:
    used(today(), model="", feature="", tier="")
    earned(today(), "-4", kind="refund")
    earned(today(), "5", kind="expire")
    assert "By" in text(as_(analyst), "costs", f"by={by}")


def test_filters_of_the_url_count(as_: Login, analyst: Any) -> None:
    used(today(), cost="2")
    used(today(), cost="40", model="haiku")
    found = text(as_(analyst), "costs", "model=haiku")
    assert "USD 40.00" in found
    assert "USD 42.00" not in found


def test_accounts_lead_to_their_pages_the_lowest_margin_first_if_wanted(as_: Login, analyst: Any) -> None:
    rich, poor = account(), account()
    month(rich, today().replace(day=1), cost="9", revenue="100")
    month(poor, today().replace(day=1), cost="5", revenue="1")
    used(today())
    client = as_(analyst)
    by_cost, by_margin = (text(client, "costs", query) for query in ("", "accounts=margin"))
    assert site.page(rich) in by_cost
    assert by_cost.index(site.page(rich)) < by_cost.index(site.page(poor))
    assert by_margin.index(site.page(poor)) < by_margin.index(site.page(rich))


def test_accounts_are_hidden_from_who_may_not_see_them(as_: Login) -> None:
    used(today())
    month(account(), today().replace(day=1))
    found = text(as_(site.staff("view_analytics", "view_costs")), "costs")
    assert "Accounts are hidden." in found


def test_names_with_markup_are_text(as_: Login, analyst: Any) -> None:
    used(today(), model="<script>alert(1)</script>", feature="x" * 100)
    used(today(), model="m" * 200)
    found = text(as_(analyst), "costs")
    assert "<script>alert" not in found
    assert "m" * 100 not in found


@pytest.mark.parametrize(
    "query",
    [
        "range=custom&first=2026-12-01&last=2026-01-01",
        "range=custom&first=1950-01-01&last=2026-01-01",
        "range=custom&first=2090-01-01&last=2090-02-01",
        "by=colour",
        "accounts=zzz",
        "model=" + "x" * 600,
    ],
)
def test_what_makes_no_sense_is_said_and_nothing_breaks(as_: Login, analyst: Any, query: str) -> None:
    used(today())
    assert "tp-page" in text(as_(analyst), "costs", query)


def test_the_page_of_nothing_says_so(as_: Login, analyst: Any) -> None:
    assert "Nothing was used or earned in these days." in text(as_(analyst), "costs")


def test_the_chart_can_be_had_as_a_file(as_: Login, analyst: Any) -> None:
    used(today(), cost="2")
    route = reverse("admin:django_token_pricing_usageday_chart", args=["costs", "course", "csv"])
    assert "2" in as_(analyst).get(route).content.decode()
    assert as_(site.staff("view_analytics", "export_analytics")).get(route).status_code == 403


@pytest.mark.parametrize("days", [3, 60, 365, 1_500])
def test_any_length_of_period_has_a_chart(as_: Login, analyst: Any, days: int) -> None:
    first = today() - timedelta(days=days - 1)
    used(first, cost="2")
    found = text(as_(analyst), "costs", f"range=custom&first={first}&last={today()}")
    assert "<svg" in found
    assert found.count("data-tip") < 130


def queries(client: Client, page: str, query: str = "") -> int:
    with CaptureQueriesContext(connection) as found:
        text(client, page, query)
    return len(found)


def test_costs_take_as_many_queries_with_many_rows(as_: Login, analyst: Any) -> None:
    client = as_(analyst)

    def add(number: int) -> None:
        for place in range(number):
            used(today(), model=f"m{place} {number}", unpriced=1)
            earned(today(), "1", model=f"m{place} {number}")
            month(account(), today().replace(day=1))

    add(1)
    few = queries(client, "costs")
    add(30)
    assert queries(client, "costs") == few <= MOST_QUERIES


# Utilisation


def counted(**tiers: dict[str, int]) -> None:
    now = timezone.now()
    SummaryRefresh.objects.create(started_at=now, seen_at=now, finished_at=now, totals={"used_shares": tiers})


def summary(available: int, used: int, **given: Any) -> TokenAccount:
    one = account("team")
    TokenAccount.objects.filter(pk=one.pk).update(created_at=timezone.now() - timedelta(days=400))
    fields = {"tier": "team", "state": "ok", "granted": 0, "share_left": 50, **given}
    AccountSummary.objects.create(account=one, available=available, used=used, **fields)
    return one


def test_utilisation_is_for_who_may_see_analytics(as_: Login, viewer: Any) -> None:
    assert as_(viewer).get(url("utilisation")).status_code == 403
    assert as_(site.staff("view_analytics")).get(url("utilisation")).status_code == 200


def test_the_page_says_how_many_accounts_used_how_much(as_: Login, analyst: Any) -> None:
    counted(team={"tenth": 30, "half": 50, "dry": 20}, free={"nothing": 7})
    found = text(as_(analyst), "utilisation")
    for words in ("Use less than 10%", "30%", "Ran dry this month", "20%", "team", "free"):
        assert words in found


def test_a_tier_can_be_chosen(as_: Login, analyst: Any) -> None:
    counted(team={"tenth": 30}, free={"dry": 7})
    found = text(as_(analyst), "utilisation", "tier=free")
    assert "Only accounts of these tiers: free." in found
    assert ">30<" not in found


def test_a_suggestion_stands_with_the_numbers_behind_it(as_: Login, analyst: Any) -> None:
    TierAdvice.objects.create(
        tier="team",
        made_at=timezone.now(),
        first_month=date(2026, 8, 1),
        months=3,
        accounts=1_200,
        active=1_000,
        given=1_000,
        granted=Decimal(50_000_000),
        median=9_000,
        most_use=17_900,
        suggested=18_000,
        short=90,
    )
    found = text(as_(analyst), "utilisation")
    for words in ("50,000", "9,000", "18,000", "91%", ">90<", "32,000,000", "1,000 of 1,200 accounts", "August 2026"):
        assert words in found


def test_who_wastes_and_who_runs_dry_lead_to_their_accounts(as_: Login, analyst: Any) -> None:
    idle, dry = summary(1_000_000, 0), summary(10, 500, share_left=1)
    client = as_(analyst)
    found = text(client, "utilisation")
    little, soon = found.index("Use little"), found.index("Run dry soon")
    assert little < found.index(site.page(idle)) < soon < found.index(site.page(dry))
    assert site.page(idle) not in text(as_(site.staff("view_analytics")), "utilisation")


def test_before_the_first_refresh_the_page_says_what_to_do(as_: Login, analyst: Any) -> None:
    found = text(as_(analyst), "utilisation")
    assert "No accounts were counted yet." in found
    assert "Nothing was suggested yet." in found


def test_utilisation_takes_as_many_queries_with_many_accounts(as_: Login, analyst: Any) -> None:
    client = as_(analyst)
    counted(team={"tenth": 30})
    summary(1_000_000, 0)
    summary(10, 500)
    few = queries(client, "utilisation")
    for place in range(30):
        summary(1_000_000 + place, 0)
        summary(10, 500 + place)
    counted(**{f"t{place}": {"tenth": place} for place in range(40)})
    assert queries(client, "utilisation") == few <= MOST_QUERIES
