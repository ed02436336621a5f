"""The list of accounts: live balances, and figures of the last refresh to sort and filter by."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_token_pricing import tokens
from django_token_pricing.admin.base import paginator
from django_token_pricing.admin.tokens import account_list, filters
from django_token_pricing.models import AccountSummary, SummaryRefresh, TokenAccount
from tests import world
from tests.admin import site

pytestmark = pytest.mark.django_db

URL = "/admin/django_token_pricing/tokenaccount/"
COLUMNS = ["available", "granted_month", "used_month", "next_expiry", "last_use"]


def has(
    amount: int = 0,
    *,
    used: int = 0,
    days: int | None = None,
    tier: str = "",
    at: timedelta = timedelta(),
) -> TokenAccount:
    """An account of a new user that was granted this and used that much of it."""
    user = world.new_user()
    now = timezone.now()
    if amount:
        tokens.grant(user, amount, source="plan", expires_at=None if days is None else now + timedelta(days=days))
    if used:
        tokens.consume(user, used, key=f"use:{user.pk}", used_at=now - at)
    account, _made = TokenAccount.objects.get_or_create(user=user)
    TokenAccount.objects.filter(pk=account.pk).update(tier=tier)
    return account


def listed(client: Client, query: Any = None) -> list[TokenAccount]:
    response = client.get(URL, query)
    assert response.status_code == 200, response
    return list(response.context["cl"].result_list)


def text(client: Client, query: Any = None) -> str:
    return " ".join(client.get(URL, query).content.decode().split())


def by(client: Client, column: str, *, falling: bool = False) -> str:
    """The parameter that a click on this column's heading sends."""
    shown = client.get(URL).context["cl"].list_display
    return f"{'-' if falling else ''}{shown.index(column)}"


def queries(client: Client, query: Any = None) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(URL, query).status_code == 200
    return len(captured)


# What stands there ----------------------------------------------------------------------------------------------------


def test_the_columns_say_what_the_ledger_says(owners_client: Client) -> None:
    account = has(5_000, used=1_200, days=3, tier="team")
    tokens.grant(account.user, 500, source="rollover")
    tokens.hold(account.user, 300, key="job")
    tokens.refresh_summaries()
    (row,) = listed(owners_client)
    shown = admin.site.get_model_admin(TokenAccount)
    cells = {
        name: getattr(shown, name)(row) for name in ("tier_name", "available", "held", "granted_month", "used_month")
    }
    assert cells == {
        "tier_name": "team",
        "available": "4,000",
        "held": "300",
        "granted_month": "5,000",
        "used_month": "1,200",
    }
    balance = tokens.balance(account)
    assert (row.live.available, row.live.held, row.live.next_expiry) == (4_000, 300, balance.next_expiry)
    assert row.last_used_at == account.usage.get().used_at


def test_balances_are_live_and_sums_are_of_the_refresh(owners_client: Client) -> None:
    account = has(100, used=10)
    tokens.refresh_summaries()
    tokens.consume(account.user, 40, key="later")
    (row,) = listed(owners_client)
    assert (row.live.available, int(row.month_used)) == (50, 10)


def test_who_never_used_anything_has_a_dash(owners_client: Client) -> None:
    has(100)
    tokens.refresh_summaries()
    (row,) = listed(owners_client)
    assert admin.site.get_model_admin(TokenAccount).last_use(row) == "—"


def test_an_account_newer_than_the_figures_has_dashes_and_the_page_says_why(owners_client: Client) -> None:
    has(100)
    tokens.refresh_summaries()
    assert "have a dash" not in text(owners_client)
    newer = has(200)
    rows = listed(owners_client)
    assert rows[0] == newer
    shown = admin.site.get_model_admin(TokenAccount)
    for column in ("granted_month", "used_month", "last_use"):
        assert "Not known before the next refresh" in getattr(shown, column)(rows[0])
    assert "Accounts that are newer have a dash in their place." in text(owners_client)
    order = by(owners_client, "available")
    assert newer not in listed(owners_client, {"o": order})
    assert "Accounts that are newer are left out." in text(owners_client, {"o": order})


def test_a_pool_uses_what_its_members_draw(owners_client: Client) -> None:
    member = world.new_user()
    pool = world.new_pool(member)
    tokens.grant(pool, 1_000, source="purchase")
    tokens.consume(member, 120, key="use")
    tokens.refresh_summaries()
    summary = AccountSummary.objects.get(account=pool.account)
    assert (summary.used, summary.available, summary.state) == (120, 880, "ok")
    assert summary.last_used_at is not None
    assert pool.account not in listed(owners_client, {"used": "never"})


def test_a_closed_account_stays_in_the_list(owners_client: Client) -> None:
    account = has(100, used=40)
    account.user.delete()
    tokens.refresh_summaries()
    assert "Closed" in text(owners_client)
    for query in ({}, {"o": by(owners_client, "used_month")}, {"owner": "closed", "o": by(owners_client, "available")}):
        assert listed(owners_client, query) == [account]


# The age of the figures -----------------------------------------------------------------------------------------------


def test_without_any_refresh_the_list_works_and_says_how_to_get_figures(owners_client: Client) -> None:
    account = has(100)
    page = text(owners_client)
    assert listed(owners_client) == [account]
    assert "No figures" in page
    assert "token_pricing_refresh_summaries" in page
    for query in ({"o": by(owners_client, "used_month")}, {"state": "low"}, {"tier": "team"}):
        assert listed(owners_client, query) == []


def test_the_page_says_how_old_the_figures_are(owners_client: Client) -> None:
    has(100)
    run = tokens.refresh_summaries()
    page = text(owners_client)
    assert "Figures for sorting and filtering are of" in page
    assert "Old figures" not in page
    SummaryRefresh.objects.filter(pk=run.pk).update(started_at=timezone.now() - timedelta(minutes=61))
    page = text(owners_client)
    assert "1 hour, 1 minute ago" in page.replace("\xa0", " ")
    assert "Old figures" in page


def test_a_refresh_that_is_not_finished_dates_nothing(owners_client: Client) -> None:
    now = timezone.now()
    SummaryRefresh.objects.create(started_at=now, seen_at=now)
    assert "No figures" in text(owners_client)


# Sorting --------------------------------------------------------------------------------------------------------------


def test_each_column_sorts_both_ways_and_what_is_not_there_comes_last(owners_client: Client) -> None:
    hour = timedelta(hours=1)
    few = has(100, used=90, days=2, at=2 * hour)
    many = has(900, used=10, days=9, at=hour)
    none = has(400)
    also = has(400)
    tokens.refresh_summaries()
    rising = {
        "available": [few, none, also, many],
        "granted_month": [few, none, also, many],
        "used_month": [none, also, many, few],
        "next_expiry": [few, many, none, also],
        "last_use": [few, many, none, also],
    }
    falling = {
        "available": [many, also, none, few],
        "granted_month": [many, also, none, few],
        "used_month": [few, many, also, none],
        "next_expiry": [many, few, also, none],
        "last_use": [many, few, also, none],
    }
    for column in COLUMNS:
        assert listed(owners_client, {"o": by(owners_client, column)}) == rising[column], column
        assert listed(owners_client, {"o": by(owners_client, column, falling=True)}) == falling[column], column


def test_only_columns_of_the_figures_sort_and_one_at_a_time(owners_client: Client) -> None:
    one, two = has(100), has(50)
    tokens.refresh_summaries()
    for order in (
        "",
        "0",
        "x",
        "-",
        "99",
        "9" * 40,
        "-0",
        "1.x",
        by(owners_client, "owner"),
        by(owners_client, "held"),
    ):
        assert listed(owners_client, {"o": order}) == [two, one], order
    available, used = by(owners_client, "available"), by(owners_client, "used_month", falling=True)
    response = owners_client.get(URL, {"o": f"x.{available}.{used}"})
    assert list(response.context["cl"].result_list) == [two, one]
    assert response.context["cl"].get_ordering_field_columns() == {int(available): "asc"}
    headings = response.content.decode()
    assert f"o={used}" not in headings
    assert "sortable column-available sorted ascending" in headings


def test_a_sorted_list_ends_at_the_cap_and_says_so(owners_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for amount in range(1, 6):
        has(amount)
    tokens.refresh_summaries()
    for module in (paginator, account_list):
        monkeypatch.setattr(module, "MOST_COUNTED", 3)
    order = by(owners_client, "available")
    response = owners_client.get(URL, {"o": order})
    assert "more than 3 token accounts" in response.content.decode()
    assert "The list ends here." in response.content.decode()
    assert response.context["cl"].older_url is None
    assert "Older ones" in text(owners_client)
    # Where the list would go on there is nothing to go on from.
    first = min(TokenAccount.objects.values_list("pk", flat=True))
    assert len(listed(owners_client, {"o": order, "before": first})) == 5


# Filters --------------------------------------------------------------------------------------------------------------


def test_filters_find_their_accounts_and_together_those_in_all_of_them(owners_client: Client) -> None:
    empty = has(100, used=100, tier="free")
    low = has(100, used=95, days=3, tier="team")
    soon = has(100, used=1, days=3, tier="free")
    later = has(100, days=30, tier="team")
    new = has(0)
    tokens.refresh_summaries()
    expected: list[tuple[dict[str, str], list[TokenAccount]]] = [
        ({"state": "empty"}, [new, empty]),
        ({"state": "low"}, [low]),
        ({"expiring": "soon"}, [soon, low]),
        ({"used": "never"}, [new, later]),
        ({"tier": "team"}, [later, low]),
        ({"tier": ""}, [new]),
        ({"used": "never", "state": "empty"}, [new]),
        ({"tier": "free", "expiring": "soon"}, [soon]),
        ({"tier": "free", "state": "empty", "owner": "user"}, [empty]),
        ({"tier": "team", "owner": "pool"}, []),
        ({"expiring": "soon", "o": by(owners_client, "available")}, [low, soon]),
        ({"used": "never", "o": by(owners_client, "used_month")}, [later, new]),
        ({"used": "never", "o": by(owners_client, "last_use", falling=True)}, [new, later]),
        ({"state": "empty", "o": by(owners_client, "last_use", falling=True)}, [empty, new]),
        ({"q": low.user.get_username(), "state": "low", "o": by(owners_client, "available")}, [low]),
        ({"q": low.user.get_username(), "state": "empty"}, []),
    ]
    for query, accounts in expected:
        found = owners_client.get(URL, query).context["cl"]
        assert list(found.result_list) == accounts, query
        assert found.result_count == len(accounts), query


def test_members_of_a_pool_are_those_of_now_and_the_latest_come_first(owners_client: Client) -> None:
    one, two, other = has(10), has(20), has(30)
    pool = world.new_pool(two.user, one.user)
    world.new_pool(other.user)
    tokens.grant(pool, 5, source="manual")
    assert listed(owners_client, {"member_of": pool.pk}) == [one, two]
    assert pool.name in text(owners_client, {"member_of": pool.pk})
    tokens.refresh_summaries()
    world.leave(one.user)
    assert listed(owners_client, {"member_of": pool.pk}) == [two]
    world.join(pool, other.user)
    assert listed(owners_client, {"member_of": pool.pk, "o": by(owners_client, "available")}) == [two, other]
    assert listed(owners_client, {"member_of": pool.pk, "state": "low"}) == []


def test_members_beyond_the_count_follow_the_last_one(owners_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = [has(10) for _number in range(5)]
    pool = world.new_pool(*(account.user for account in accounts))
    monkeypatch.setattr(account_list, "MOST_JOINED", 3)
    found = owners_client.get(URL, {"member_of": pool.pk}).context["cl"]
    assert (found.result_count, found.is_capped) == (3, True)
    assert found.result_list[:3] == accounts[:1:-1]
    before = {"member_of": pool.pk, "before": accounts[2].pk}
    assert listed(owners_client, before) == [accounts[1], accounts[0]]


def test_the_page_of_a_pool_leads_to_the_accounts_of_its_members(owners_client: Client) -> None:
    pool = world.new_pool(has(10).user)
    assert f'href="{URL}?member_of={pool.pk}"' in owners_client.get(site.page(pool)).content.decode()


@pytest.mark.parametrize(
    "query",
    [
        {"state": "ok"},
        {"state": "x"},
        {"state": ""},
        {"expiring": "never"},
        {"used": "1"},
        {"tier": "nobody's"},
        {"tier": "\0"},
        {"tier": "x" * 2_000},
        {"member_of": "x"},
        {"member_of": "9" * 40},
        {"member_of": "-1"},
        {"owner": "x"},
    ],
)
def test_what_no_filter_offers_finds_nothing_rather_than_all(query: dict[str, str], owners_client: Client) -> None:
    has(100, tier="team")
    tokens.refresh_summaries()
    assert listed(owners_client, query) == []


def test_tiers_are_offered_as_the_refresh_found_them(owners_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for tier in ("c", "a", "b", "a", ""):
        has(1, tier=tier)
    assert "By tier" not in text(owners_client)
    tokens.refresh_summaries()

    def offered(query: Any = None) -> list[str]:
        found = owners_client.get(URL, query).context["cl"]
        (spec,) = [spec for spec in found.filter_specs if isinstance(spec, filters.TierFilter)]
        return [str(choice["display"]) for choice in spec.choices(found)]

    assert offered() == ["All", "No tier", "a", "b", "c"]
    assert "Another tier" not in text(owners_client)
    monkeypatch.setattr(filters, "MOST_TIERS", 2)
    assert offered() == ["All", "No tier", "a", "b"]
    assert offered({"tier": "c"}) == ["All", "No tier", "a", "b", "c"]
    page = text(owners_client, {"state": "low", "tier": "c"})
    assert "Another tier" in page
    assert '<input type="hidden" name="state" value="low">' in page


# Queries --------------------------------------------------------------------------------------------------------------


def test_thirty_rows_take_as_many_queries_as_one_however_they_are_found(owners_client: Client) -> None:
    account = has(100, used=95, days=3, tier="team")
    pool = world.new_pool(account.user)
    tokens.refresh_summaries()
    asked: list[dict[str, Any]] = [
        {},
        {"o": by(owners_client, "last_use", falling=True)},
        {"state": "low", "expiring": "soon", "tier": "team", "o": by(owners_client, "available")},
        {"member_of": pool.pk, "o": by(owners_client, "next_expiry")},
        {"member_of": pool.pk, "tier": "team", "owner": "user"},
        {"q": account.user.get_username()[:4], "tier": "team", "o": by(owners_client, "available")},
    ]
    ones = [queries(owners_client, query) for query in asked]
    assert max(ones) <= site.MOST_QUERIES
    for _number in range(29):
        world.join(pool, has(100, used=95, days=3, tier="team").user)
    tokens.refresh_summaries()
    for query, one in zip(asked, ones, strict=True):
        assert len(listed(owners_client, query)) == 30, query
        assert queries(owners_client, query) == one, query


def test_summaries_alone_are_counted_where_they_alone_decide(owners_client: Client) -> None:
    has(100, used=95)
    tokens.refresh_summaries()
    query = {"state": "low", "o": by(owners_client, "available")}
    with CaptureQueriesContext(connection) as captured:
        owners_client.get(URL, query)
    (count,) = [asked["sql"] for asked in captured.captured_queries if "COUNT" in asked["sql"]]
    assert TokenAccount._meta.db_table not in count
