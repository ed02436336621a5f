"""Packages: made, changed, switched and deleted with a reason, by those who may."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_token_pricing.models import AuditEvent, TokenPackage, TokenPackagePrice
from tests.admin import site

pytestmark = pytest.mark.django_db

Login = Callable[[Any], Client]
MAY_ALL = ["add_tokenpackage", "change_tokenpackage", "delete_tokenpackage"]
# (page, permission that it needs)
CHOSEN = [
    ("switch_on", "change_tokenpackage"),
    ("switch_off", "change_tokenpackage"),
    ("delete_chosen", "delete_tokenpackage"),
]


@pytest.fixture
def editor(db: None) -> Any:
    return site.staff("view_tokenpackage", *MAY_ALL)


def add() -> str:
    return reverse("admin:django_token_pricing_tokenpackage_add")


def chosen(name: str, *packages: TokenPackage) -> str:
    url = reverse(f"admin:django_token_pricing_tokenpackage_{name}")
    return f"{url}?rows={','.join(str(package.pk) for package in packages)}"


def answer(*packages: TokenPackage, **more: str) -> dict[str, str]:
    rows = ",".join(str(package.pk) for package in packages)
    return {"key": str(uuid4()), "rows": rows, "reason": "New price list", **more}


def form(*prices: tuple[str, ...], **more: str) -> dict[str, str]:
    """Prices as (currency, amount), or (currency, amount, key) for one that is there; "DELETE" ends one to delete."""
    there = [price for price in prices if len(price) > 2]
    given = {
        "name": "Starter",
        "code": "starter",
        "description": "",
        "tokens": "1,000",
        "validity_days": "30",
        "priority": "100",
        "per_user": "",
        "is_active": "on",
        "place": "1",
        "reason": "Spring sale",
        "prices-TOTAL_FORMS": str(len(prices)),
        "prices-INITIAL_FORMS": str(len(there)),
    }
    for line, (currency, amount, *rest) in enumerate([*there, *(price for price in prices if len(price) == 2)]):
        given |= {f"prices-{line}-currency": currency, f"prices-{line}-amount": amount}
        if rest:
            given[f"prices-{line}-id"] = rest[0]
        if rest[1:]:
            given[f"prices-{line}-DELETE"] = "on"
    return given | more


def made(client: Client, *prices: tuple[str, ...], **more: str) -> TokenPackage:
    response = client.post(add(), form(*prices, **more))
    assert response.status_code == 302, response.content.decode()
    return TokenPackage.objects.latest("pk")


def costs(package: TokenPackage) -> dict[str, Decimal]:
    return dict(package.prices.values_list("currency", "amount"))


# The form


def test_a_package_is_made_with_its_prices_and_the_reason(as_: Login, editor: Any) -> None:
    package = made(as_(editor), ("EUR", "9"), ("usd", "10.5"))
    assert (package.name, package.tokens, package.validity_days, package.per_user) == ("Starter", 1_000, 30, None)
    assert costs(package) == {"EUR": 9, "USD": Decimal("10.5")}
    event = AuditEvent.objects.get()
    assert (event.action, event.actor, event.reason, event.target_label) == (
        "packages.add",
        editor,
        "Spring sale",
        "Starter",
    )
    assert event.changes["prices.USD"] == [None, "10.50"]


def test_a_change_says_from_what_to_what_prices_included(as_: Login, editor: Any) -> None:
    client = as_(editor)
    package = made(client, ("EUR", "9"), ("USD", "10"))
    euro, dollar = (str(price.pk) for price in package.prices.order_by("currency"))
    lines = [("EUR", "8", euro), ("USD", "10", dollar, "DELETE"), ("GBP", "7")]
    response = client.post(site.page(package), form(*lines, tokens="2,000", reason="Cheaper"))
    assert response.status_code == 302, response.content.decode()
    package.refresh_from_db()
    assert package.tokens == 2_000
    assert costs(package) == {"EUR": 8, "GBP": 7}
    event = AuditEvent.objects.latest("pk")
    assert (event.action, event.reason) == ("packages.change", "Cheaper")
    assert event.changes == {
        "tokens": [1_000, 2_000],
        "prices.EUR": ["9.00", "8.00"],
        "prices.GBP": [None, "7.00"],
        "prices.USD": ["10.00", None],
    }


def test_a_form_sent_without_a_change_leaves_no_trace(as_: Login, editor: Any) -> None:
    client = as_(editor)
    package = made(client, ("EUR", "9"))
    price = str(package.prices.get().pk)
    before = (AuditEvent.objects.count(), package.history.count(), TokenPackagePrice.history.count())
    assert client.post(site.page(package), form(("EUR", "9.00", price))).status_code == 302
    assert (AuditEvent.objects.count(), package.history.count(), TokenPackagePrice.history.count()) == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": ""},
        {"reason": "x" * 501},
        {"name": ""},
        {"code": "no spaces"},
        {"tokens": "0"},
        {"tokens": str(2**63)},
        {"tokens": "1.5"},
        {"validity_days": "0"},
        {"validity_days": "36501"},
        {"per_user": "0"},
        {"priority": "40000"},
        {"prices-0-currency": "EURO"},
        {"prices-0-currency": "E1"},
        {"prices-0-amount": "-1"},
        {"prices-0-amount": ""},
        {"prices-1-currency": "EUR"},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_shown_and_nothing_is_saved(wrong: dict[str, str], as_: Login, editor: Any) -> None:
    response = as_(editor).post(add(), form(("EUR", "9"), ("USD", "10"), **wrong))
    assert response.status_code == 200
    assert "errorlist" in response.content.decode()
    assert not TokenPackage.objects.exists()
    assert not AuditEvent.objects.exists()


def test_a_code_is_there_once(as_: Login, editor: Any) -> None:
    client = as_(editor)
    made(client)
    assert client.post(add(), form()).status_code == 200
    assert TokenPackage.objects.count() == 1


def test_a_price_keeps_its_currency_and_another_may_take_its_place(as_: Login, editor: Any) -> None:
    client = as_(editor)
    package = made(client, ("EUR", "9"), ("USD", "10"))
    euro, dollar = (str(price.pk) for price in package.prices.order_by("currency"))
    assert client.post(site.page(package), form(("USD", "8", euro), ("EUR", "10", dollar))).status_code == 302
    assert costs(package) == {"EUR": 8, "USD": 10}
    assert client.post(site.page(package), form(("EUR", "8", euro), ("EUR", "7"))).status_code == 200
    # In one save only Django 5.2 would take it.
    assert client.post(site.page(package), form(("EUR", "8", euro, "DELETE"))).status_code == 302
    assert client.post(site.page(package), form(("EUR", "7"))).status_code == 302
    assert costs(package) == {"EUR": 7, "USD": 10}


def test_who_may_only_look_sees_values_and_no_fields(as_: Login, viewer: Any) -> None:
    package = site.package(name="Looked at", tokens=1_234_567)
    text = as_(viewer).get(site.page(package)).content.decode()
    assert "Looked at" in text
    assert "9.00" in text
    for field in ("name", "reason", "prices-0-currency"):
        assert f'name="{field}"' not in text
    assert "deletelink" not in text


# Who may


def test_each_step_needs_its_own_permission_and_the_view(
    as_: Login, viewer: Any, staff_without_permission: Any
) -> None:
    package = site.package()
    steps = {
        add(): ("add_tokenpackage", form()),
        site.page(package): ("change_tokenpackage", form()),
        site.deed(package, "delete"): ("delete_tokenpackage", answer(package)),
        **{chosen(name, package): (permission, answer(package)) for name, permission in CHOSEN},
    }
    for url, (permission, data) in steps.items():
        others = [other for other in MAY_ALL if other != permission]
        persons = (viewer, staff_without_permission, site.staff(permission), site.staff("view_tokenpackage", *others))
        for person in persons:
            client = as_(person)
            if url != site.page(package):  # which viewers look at
                assert client.get(url).status_code == 403, url
            assert client.post(url, data).status_code == 403, url
    package.refresh_from_db()
    assert package.is_active
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize("is_logged_in", [True, False])
def test_strangers_are_sent_to_the_login(is_logged_in: bool, stranger: Any, client: Client, as_: Login) -> None:
    package = site.package()
    client = as_(stranger) if is_logged_in else client
    for url in (add(), site.deed(package, "delete"), *(chosen(name, package) for name, _permission in CHOSEN)):
        for response in (client.get(url), client.post(url, answer(package))):
            assert response.status_code == 302
            assert "/login/" in response["Location"]
    assert TokenPackage.objects.filter(is_active=True).exists()


def test_the_list_offers_what_the_person_may_do(as_: Login, viewer: Any, editor: Any) -> None:
    site.package()
    url = site.lists(TokenPackage)
    assert as_(viewer).get(url).context["action_form"] is None
    offered = as_(editor).get(url).context["action_form"].fields["action"].choices
    assert [name for name, _text in offered][1:] == ["switch_on", "switch_off", "delete_selected"]


# The list


def test_the_list_is_in_the_order_that_customers_see(owners_client: Client) -> None:
    third, second, first = (site.package(place=place) for place in (3, 2, 1))
    url = site.lists(TokenPackage)
    assert list(owners_client.get(url).context["cl"].result_list) == [first, second, third]
    assert list(owners_client.get(f"{url}?o=-1").context["cl"].result_list) == [first, second, third]


def test_packages_are_found_by_first_letters_and_by_state(owners_client: Client) -> None:
    boost = site.package(name="Boost", code="b-2026")
    off = site.package(name="Old", code="old", is_active=False)
    url = site.lists(TokenPackage)
    for query, found in (("q=boo", [boost]), ("q=B-2", [boost]), ("q=oost", []), ("is_active__exact=0", [off])):
        assert list(owners_client.get(f"{url}?{query}").context["cl"].result_list) == found, query


def test_the_list_shows_prices_validity_and_figures_as_people_read_them(owners_client: Client) -> None:
    site.package(tokens=1_500_000, validity_days=30)
    text = owners_client.get(site.lists(TokenPackage)).content.decode()
    for shown in ("1,500,000", "30 days", "EUR 9.00<br>USD 10.00"):
        assert shown in text


# Chosen in the list


def test_an_action_leads_to_a_page_that_asks_why(as_: Login, editor: Any) -> None:
    one, two, other = (site.package(number) for number in range(3))
    client = as_(editor)
    action = {"action": "switch_off", "_selected_action": [one.pk, two.pk]}
    response = client.post(site.lists(TokenPackage), action, follow=True)
    assert "Switch off 2 packages?" in response.content.decode()
    assert TokenPackage.objects.filter(is_active=True).count() == 3
    response = client.post(chosen("switch_off", one, two), answer(one, two), follow=True)
    assert "2 packages were switched off." in response.content.decode()
    assert list(TokenPackage.objects.filter(is_active=True)) == [other]
    event = AuditEvent.objects.get()
    assert (event.action, event.actor, event.reason, event.count) == ("packages.change", editor, "New price list", 2)
    assert event.changes["is_active"] == [True, False]
    for package in (one, two):
        version = package.history.latest()
        assert (version.is_active, version.history_user, version.history_change_reason) == (
            False,
            editor,
            "New price list",
        )


def test_what_is_as_wanted_already_is_counted_and_not_written(as_: Login, editor: Any) -> None:
    on, off = site.package(), site.package(is_active=False)
    response = as_(editor).post(chosen("switch_on", on, off), answer(on, off), follow=True)
    assert "1 package was switched on. 1 was as wanted already." in response.content.decode()
    event = AuditEvent.objects.get()
    assert (event.target_id, event.count) == (str(off.pk), 1)
    again = as_(editor).post(chosen("switch_on", on, off), answer(on, off), follow=True)
    assert "0 packages were switched on." in again.content.decode()
    assert AuditEvent.objects.count() == 1


def test_without_a_reason_nothing_is_switched(as_: Login, editor: Any) -> None:
    package = site.package()
    response = as_(editor).post(chosen("switch_off", package), answer(package, reason=" "))
    assert response.status_code == 200
    assert "errorlist" in response.content.decode()
    package.refresh_from_db()
    assert package.is_active


@pytest.mark.parametrize("rows", ["", "x", "-1", "999999999", "1;2", "9" * 30, "²"])
def test_nonsense_that_is_chosen_leads_back_to_the_list(rows: str, as_: Login, editor: Any) -> None:
    client = as_(editor)
    for name, _permission in CHOSEN:
        url = reverse(f"admin:django_token_pricing_tokenpackage_{name}")
        for response in (client.get(url, {"rows": rows}), client.post(url, answer(rows=rows))):
            assert response.status_code == 302
            assert response["Location"] == site.lists(TokenPackage)
    assert not AuditEvent.objects.exists()


# Deleted


def test_a_package_is_deleted_with_its_prices_and_its_history_stays(as_: Login, editor: Any) -> None:
    package = site.package(name="Old")
    client = as_(editor)
    assert f'href="{site.deed(package, "delete")}"' in client.get(site.page(package)).content.decode()
    response = client.post(site.deed(package, "delete"), answer(package), follow=True)
    assert "The package “Old” was deleted." in response.content.decode()
    assert not TokenPackage.objects.exists()
    assert not TokenPackagePrice.objects.exists()
    event = AuditEvent.objects.get()
    assert (event.action, event.target_id, event.reason) == ("packages.delete", str(package.pk), "New price list")
    versions = [TokenPackage.history.latest(), *TokenPackagePrice.history.filter(history_type="-")]
    assert len(versions) == 3
    for version in versions:
        assert (version.history_type, version.history_user, version.history_change_reason) == (
            "-",
            editor,
            "New price list",
        )


def test_chosen_packages_are_deleted_with_one_event(as_: Login, editor: Any) -> None:
    one, two, other = (site.package(number) for number in range(3))
    client = as_(editor)
    action = {"action": "delete_selected", "_selected_action": [one.pk, two.pk], "post": "yes"}
    response = client.post(site.lists(TokenPackage), action, follow=True)
    assert "Delete 2 packages?" in response.content.decode()
    assert TokenPackage.objects.count() == 3
    client.post(chosen("delete_chosen", one, two), answer(one, two))
    assert list(TokenPackage.objects.all()) == [other]
    event = AuditEvent.objects.get()
    assert (event.action, event.count) == ("packages.delete", 2)
    assert one.code in event.changes["code"][0]


def test_the_form_takes_as_many_queries_for_many_prices_as_for_few(owners_client: Client) -> None:
    few, many = site.package(), site.package()
    for number in range(20):
        many.prices.create(currency=f"X{chr(65 + number)}X", amount=1)
    counts = []
    for package in (few, few, many):
        with CaptureQueriesContext(connection) as captured:
            assert owners_client.get(site.page(package)).status_code == 200
        counts.append(len(captured))
    assert counts[1] == counts[2]
