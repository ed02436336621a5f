"""All rows that a list shows under its filters, also outside of a request."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_token_pricing import tokens
from django_token_pricing.admin.base import changelist, paginator
from django_token_pricing.admin.base.selection import filters_on, selected, site_named
from django_token_pricing.admin.tokens import owners
from django_token_pricing.models import LedgerEntry, TokenAccount, TokenAllocation
from tests import world
from tests.admin import site

pytestmark = pytest.mark.django_db

MODELS = pytest.mark.parametrize("model", site.MODELS, ids=lambda model: model._meta.model_name)


def keys(model: type[Any], user: Any, query_string: str = "") -> list[Any]:
    rows, _changelist = selected(admin.site, model, user, query_string)
    return list(rows.values_list("pk", flat=True))


@MODELS
def test_the_rows_are_those_of_the_list_in_its_order(model: type[Any], owner: Any, owners_client: Client) -> None:
    for number in range(3):
        site.customer(number)
    shown = owners_client.get(site.lists(model)).context["cl"].result_list
    assert keys(model, owner) == [row.pk for row in shown]


def test_filters_and_search_apply(owner: Any, owners_client: Client) -> None:
    customers = [site.customer(number) for number in range(3)]
    account = customers[1].account.pk
    today = timezone.localdate()
    for query in (
        f"account={account}",
        f"account={account}&kind=grant",
        f"q={customers[1].user.get_username()}",
        f"from={today}&to={today}",
        f"to={today - timedelta(days=1)}",
        f"account={account}&from={today}",
        "q=nobody",
        "e=1",
    ):
        shown = owners_client.get(f"{site.lists(LedgerEntry)}?{query}").context["cl"].result_list
        assert keys(LedgerEntry, owner, query) == [row.pk for row in shown], query


def test_the_page_that_was_looked_at_does_not_narrow_them(owner: Any) -> None:
    site.customer()
    everything = keys(LedgerEntry, owner)
    assert keys(LedgerEntry, owner, f"p=2&before={everything[0]}") == everything


def test_neither_does_the_window_in_which_a_list_finds_its_newest_rows(
    owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paginator, "MOST_COUNTED", 1)
    monkeypatch.setattr(changelist, "MOST_COUNTED", 1)
    monkeypatch.setattr(changelist, "WINDOWS", (timedelta(seconds=0.2),))
    user = world.new_user()
    for _number in range(3):
        tokens.grant(user, 5, source="manual")
    assert len(keys(LedgerEntry, owner, "from=2026-01-01")) == 3


def test_rows_are_counted_up_to_the_cap_and_not_read(owner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paginator, "MOST_COUNTED", 1)
    site.customer()
    with CaptureQueriesContext(connection) as captured:
        _rows, found = selected(admin.site, LedgerEntry, owner, "")
    assert (found.result_count, found.is_capped, len(captured)) == (1, True, 1)


def test_the_list_itself_is_as_before(owner: Any, owners_client: Client) -> None:
    site.customer()
    selected(admin.site, LedgerEntry, owner, "")
    assert owners_client.get(site.lists(LedgerEntry)).context["cl"].result_list


@MODELS
def test_who_may_not_see_the_list_has_no_rows(
    model: type[Any], staff_without_permission: Any, stranger: Any, viewer: Any
) -> None:
    name = model._meta.model_name
    for user in (
        staff_without_permission,
        stranger,
        site.staff(f"change_{name}"),
        site.staff(is_superuser=True, is_staff=False),
    ):
        with pytest.raises(PermissionDenied):
            selected(admin.site, model, user, "")
    selected(admin.site, model, viewer, "")
    viewer.is_active = False
    with pytest.raises(PermissionDenied):
        selected(admin.site, model, viewer, "")


def test_a_model_or_a_site_that_is_not_there_is_refused(owner: Any) -> None:
    with pytest.raises(PermissionDenied):
        selected(admin.AdminSite("bare"), TokenAccount, owner, "")
    with pytest.raises(PermissionDenied):
        site_named("gone", TokenAccount)
    others = [admin.AdminSite(name="admin") for _number in range(3)]
    assert site_named("admin", TokenAccount).is_registered(TokenAccount)
    assert others


@pytest.mark.parametrize("query", ["from=yesterday", "from=2026-02-02&to=2026-02-01", "q=%00"])
def test_where_the_list_shows_an_error_nothing_is_selected(query: str, owner: Any) -> None:
    with pytest.raises(BadRequest):
        selected(admin.site, LedgerEntry, owner, query)


def test_a_filter_that_the_list_does_not_offer_is_refused(owner: Any) -> None:
    with pytest.raises(SuspiciousOperation):
        selected(admin.site, LedgerEntry, owner, "account__user__password__startswith=a")


def test_what_the_search_has_to_say_is_kept(owner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "MOST_FOUND", 1)
    site.customer(), site.customer()
    _rows, found = selected(admin.site, TokenAccount, owner, "q=user")
    assert len(found.told) == 1
    assert "some are left out" in found.told[0]


def test_filters_are_told_in_words(owner: Any) -> None:
    customer = site.customer()
    account, login = customer.account.pk, customer.user.get_username()

    def told(model: type[Any], query: str) -> list[tuple[str, str]]:
        return list(filters_on(selected(admin.site, model, owner, query)[1]))

    assert told(LedgerEntry, "") == []
    assert told(LedgerEntry, f"q={login}") == [("Search", login)]
    assert told(LedgerEntry, f"account={account}&kind__exact=grant&from=2026-01-01") == [
        ("account", login),
        ("day of booking", "2026-01-01 – …"),
        ("entry", "Granted"),
    ]
    assert told(TokenAccount, "owner=pool") == [("owner", "Pools")]
    assert told(TokenAllocation, "source__exact=manual") == []
