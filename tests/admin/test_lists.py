"""Lists stay quick: constant queries, counts that stop, filters that an index serves."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_token_pricing import tokens
from django_token_pricing.admin.base import changelist, paginator
from django_token_pricing.models import AuditEvent, LedgerEntry, TokenAccount, TokenHold, TokenPool, TokenUsageLog
from tests import world
from tests.admin import site

pytestmark = pytest.mark.django_db

MODELS = pytest.mark.parametrize("model", site.MODELS, ids=lambda model: model._meta.model_name)


def rows(response: Any) -> list[Any]:
    return list(response.context["cl"].result_list)


def queries(client: Client, url: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


@MODELS
def test_a_list_takes_as_many_queries_for_30_rows_as_for_one(model: type[Any], owners_client: Client) -> None:
    site.customer()
    url = site.lists(model)
    queries(owners_client, url)
    one = queries(owners_client, url)
    for number in range(29):
        site.customer(number)
    assert queries(owners_client, url) == one
    assert one <= site.MOST_QUERIES


def test_searching_and_filtering_take_constant_queries(owners_client: Client) -> None:
    customers = [site.customer(number) for number in range(3)]
    account = customers[0].account.pk
    for url in (
        f"{site.lists(LedgerEntry)}?account={account}&from=2026-01-01",
        f"{site.lists(TokenUsageLog)}?from={timezone.localdate()}",
        f"{site.lists(TokenAccount)}?q=user",
    ):
        assert queries(owners_client, url) <= site.MOST_QUERIES + 4, url


def test_the_index_takes_a_query_a_fact(owners_client: Client) -> None:
    site.customer()
    queries(owners_client, site.index())
    one = queries(owners_client, site.index())
    for number in range(29):
        site.customer(number)
    assert queries(owners_client, site.index()) == one
    assert one <= 32


def test_newest_rows_come_first_and_nothing_sorts_otherwise(owners_client: Client) -> None:
    for number in range(3):
        site.customer(number)
    url = site.lists(LedgerEntry)
    newest = list(LedgerEntry.objects.order_by("-pk"))
    assert rows(owners_client.get(url)) == newest
    assert rows(owners_client.get(f"{url}?o=1.2.3")) == newest


def test_a_count_stops_and_older_rows_follow_the_last_key(
    owners_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = world.new_user()
    for _number in range(5):
        tokens.grant(user, 5, source="manual")
    monkeypatch.setattr(paginator, "MOST_COUNTED", 3)
    url = site.lists(LedgerEntry)
    response = owners_client.get(url)
    assert "more than 3 ledger entries" in response.content.decode()
    assert [row.pk for row in response.context["cl"].result_list][:3] == newest_keys()[:3]
    older = owners_client.get(url + response.context["cl"].older_url)
    assert [row.pk for row in rows(older)] == newest_keys()[len(rows(response)) :]
    assert "more than" not in older.content.decode()


def test_older_rows_of_an_account_follow_its_moments(owners_client: Client) -> None:
    customer, _other = site.customer(), site.customer()
    tokens.grant(customer.user, 5, source="manual")
    entries = list(LedgerEntry.objects.filter(account=customer.account).order_by("-booked_at", "-pk"))
    url = f"{site.lists(LedgerEntry)}?account={customer.account.pk}&before={entries[0].pk}"
    assert rows(owners_client.get(url)) == entries[1:]


@pytest.mark.parametrize("before", ["", "0", "-1", "x", "9" * 40, "123456789"])
def test_nonsense_to_go_on_from_starts_at_the_newest(before: str, owners_client: Client) -> None:
    site.customer()
    assert len(rows(owners_client.get(site.lists(LedgerEntry), {"before": before}))) == LedgerEntry.objects.count()


def newest_keys() -> list[int]:
    return list(LedgerEntry.objects.order_by("-pk").values_list("pk", flat=True))


# Searching ------------------------------------------------------------------------------------------------------------


def found(client: Client, model: type[Any], term: str) -> set[int]:
    url = site.lists(model)
    response = client.get(url, {"q": term})
    assert response.status_code == 200
    return {row.pk if model is TokenAccount else row.account_id for row in rows(response)}


@pytest.mark.parametrize("model", [TokenAccount, LedgerEntry, TokenUsageLog, TokenHold])
def test_accounts_are_found_by_the_beginning_of_the_login_or_a_whole_number(
    model: type[Any], owners_client: Client
) -> None:
    customer, other = site.customer(), site.customer()
    login = customer.user.get_username()
    assert found(owners_client, model, login) == {customer.account.pk}
    assert found(owners_client, model, login[:-1].upper()) == {customer.account.pk}
    assert customer.account.pk not in found(owners_client, model, login[1:])
    assert customer.account.pk in found(owners_client, model, str(customer.user.pk))
    assert customer.account.pk in found(owners_client, model, f"#{customer.account.pk}")
    assert {customer.account.pk, other.account.pk} <= found(owners_client, model, "user")


@pytest.mark.parametrize("term", ["%", "_", "\\", "'", "nobody", "9" * 40, "-1", "💥"])
def test_odd_terms_find_nothing_and_break_nothing(term: str, owners_client: Client) -> None:
    site.customer()
    for model in (*site.MODELS,):
        response = owners_client.get(site.lists(model), {"q": term})
        assert response.status_code in (200, 302)
        # A list that has no search takes no notice of one.
        if response.status_code == 200 and response.context["cl"].search_fields:
            assert not rows(response), model


def test_a_pool_is_found_by_its_name(owners_client: Client) -> None:
    pool = world.new_pool()
    tokens.grant(pool, 10, source="manual")
    assert found(owners_client, TokenAccount, pool.name.upper()[:6]) >= {pool.account.pk}
    assert {row.pk for row in rows(owners_client.get(site.lists(TokenPool), {"q": pool.name}))} == {pool.pk}


def test_a_whole_key_finds_the_deed(owners_client: Client) -> None:
    pool_user = world.new_user()
    pool = world.new_pool(pool_user)
    tokens.grant(pool, 100, source="manual")
    tokens.consume(pool_user, 7, key="message:1", feature="chat")
    tokens.hold(pool_user, 5, key="job:1")
    site.customer()
    entries = rows(owners_client.get(site.lists(LedgerEntry), {"q": "message:1"}))
    assert [entry.amount for entry in entries] == [-7]
    assert [use.amount for use in rows(owners_client.get(site.lists(TokenUsageLog), {"q": "message:1"}))] == [7]
    assert [row.key for row in rows(owners_client.get(site.lists(TokenHold), {"q": "job:1"}))] == ["job:1"]


def test_deeds_are_found_by_name_and_by_person(owners_client: Client, owner: Any) -> None:
    user = world.new_user()
    tokens.grant(user, 10, source="manual", actor=owner)
    tokens.subtract(user, 5, reason="Too much", actor=user)
    url = site.lists(AuditEvent)
    assert {row.action for row in rows(owners_client.get(url, {"q": "tokens.grant"}))} == {"tokens.grant"}
    assert len(rows(owners_client.get(url, {"q": "tokens."}))) == 2
    assert {row.actor_id for row in rows(owners_client.get(url, {"q": owner.get_username()}))} == {owner.pk}


# Filters --------------------------------------------------------------------------------------------------------------


def use_at(user: Any, moment: datetime) -> TokenUsageLog:
    tokens.record_many([tokens.Use(user, 1, key=str(moment), used_at=moment)])
    return TokenUsageLog.objects.get(used_at=moment)


def in_zone(day: date, clock: time) -> datetime:
    return datetime.combine(day, clock, tzinfo=timezone.get_default_timezone())


@pytest.mark.parametrize(("first", "last"), [("2026-03-28", "2026-03-29"), ("2026-03-28", "")])
@pytest.mark.parametrize("is_scoped", [True, False])
def test_days_are_half_open_in_the_sites_zone(first: str, last: str, is_scoped: bool, owners_client: Client) -> None:
    """Over the hour that is skipped on the 29th."""
    user = world.new_user()
    tokens.grant(user, 10, source="manual")
    tick = timedelta(microseconds=1)
    start, end = in_zone(date(2026, 3, 28), time.min), in_zone(date(2026, 3, 30), time.min)
    uses = [use_at(user, moment) for moment in (start - tick, start, end - tick, end)]
    query = {"from": first, "to": last}
    if is_scoped:
        query["account"] = user.token_account.pk
    listed = rows(owners_client.get(site.lists(TokenUsageLog), query))
    assert listed == ([uses[2], uses[1]] if last else [uses[3], uses[2], uses[1]])


@pytest.mark.parametrize(
    "query",
    [
        {"from": "yesterday"},
        {"to": "2026-02-30"},
        {"from": "0001-01-01"},
        {"to": "9999-12-31"},
        {"from": "2026-03-02", "to": "2026-03-01"},
    ],
)
def test_days_that_are_none_list_nothing_and_say_so(query: dict[str, str], owners_client: Client) -> None:
    site.customer()
    response = owners_client.get(site.lists(LedgerEntry), query)
    assert rows(response) == []
    assert [str(message) for message in response.context["messages"]]


def test_the_newest_rows_of_long_periods_are_looked_for_in_windows(
    owners_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere than on PostgreSQL the windows are not opened; the list is the same."""
    monkeypatch.setattr(changelist, "MOST_COUNTED", 1)
    for number in range(3):
        site.customer(number)
    query = {"from": "2020-01-01", "to": str(timezone.localdate() + timedelta(days=1))}
    assert len(rows(owners_client.get(site.lists(LedgerEntry), query))) == LedgerEntry.objects.count()


def test_kinds_are_offered_within_an_account_alone(owners_client: Client) -> None:
    customer, _other = site.customer(), site.customer()
    url = site.lists(LedgerEntry)
    everywhere = owners_client.get(url, {"kind__exact": "grant"})
    assert len(rows(everywhere)) == LedgerEntry.objects.count()
    assert "By entry" not in everywhere.content.decode()
    within = owners_client.get(url, {"kind__exact": "grant", "account": customer.account.pk})
    assert [(row.kind, row.account_id) for row in rows(within)] == [("grant", customer.account.pk)]
    assert "By entry" in within.content.decode()


@pytest.mark.parametrize(
    "lookup", ["amount__gt=1", "account__user__isnull=1", "account__in=1,2", "booked_at__year=2026"]
)
def test_no_other_look_up_is_let_in(lookup: str, owners_client: Client) -> None:
    assert owners_client.get(f"{site.lists(LedgerEntry)}?{lookup}").status_code == 400


@pytest.mark.parametrize("value", ["x", "-1", "9" * 40, "1 or 1", "٣"])
def test_an_account_that_is_none_lists_nothing(value: str, owners_client: Client) -> None:
    site.customer()
    assert rows(owners_client.get(site.lists(LedgerEntry), {"account": value})) == []


def test_accounts_are_filtered_by_their_owner(owners_client: Client) -> None:
    customer = site.customer()
    pool = world.new_pool()
    tokens.grant(pool, 1, source="manual")
    gone = world.new_user()
    tokens.grant(gone, 1, source="manual")
    closed = gone.token_account.pk
    gone.delete()
    url = site.lists(TokenAccount)
    assert customer.account in rows(owners_client.get(url, {"owner": "user"}))
    assert [row.pk for row in rows(owners_client.get(url, {"owner": "pool"}))] == [pool.account.pk]
    assert [row.pk for row in rows(owners_client.get(url, {"owner": "closed"}))] == [closed]


def test_the_audit_of_an_account_has_deeds_on_many_accounts_too(owners_client: Client, owner: Any) -> None:
    one, two = site.customer(), site.customer()
    given = [tokens.GrantRow(customer.user, 5) for customer in (one, two)]
    tokens.grant_many(given, source="manual", reason="Everybody", actor=owner)
    listed = rows(owners_client.get(site.lists(AuditEvent), {"account": one.account.pk}))
    assert {row.reason for row in listed} == {"Goodwill", "Everybody"}


def test_what_users_wrote_is_escaped(owners_client: Client) -> None:
    evil = "<script>alert(1)</script>"
    customer = site.customer(feature=evil, model=evil)
    tokens.grant(customer.user, 5, source="manual", reason=evil)
    pages = [site.lists(model) for model in site.MODELS]
    pages += [site.page(model.objects.order_by("-pk").first()) for model in site.MODELS]
    for url in [*pages, site.page(customer.account)]:
        text = owners_client.get(url).content.decode()
        assert "<script>alert" not in text, url
    assert "&lt;script&gt;alert" in text


def test_lists_do_not_load_the_hosts_user(owners_client: Client) -> None:
    site.customer()
    with CaptureQueriesContext(connection) as captured:
        owners_client.get(site.lists(LedgerEntry))
        owners_client.get(site.lists(TokenAccount))
    table = get_user_model()._meta.db_table
    users = [query["sql"] for query in captured if "password" in query["sql"] and "token" in query["sql"]]
    assert not users, table
