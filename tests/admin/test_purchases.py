"""The list of purchases: found, filtered, exported, and taken back by those who may."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_token_pricing import tokens
from django_token_pricing.models import AuditEvent, Purchase, TokenAllocation, TokenPackage
from tests import world
from tests.admin import site

pytestmark = pytest.mark.django_db

Login = Callable[[Any], Client]


def sell(package: TokenPackage, ref: str, currency: str = "EUR", user: Any = None) -> Purchase:
    done = tokens.purchase(user or world.new_user(), package, payment_ref=ref, currency=currency)
    return Purchase.objects.get(pk=done.purchase)


def text(response: Any) -> str:
    return str(response.content.decode())


def found(client: Client, **query: Any) -> list[int]:
    response = client.get(site.lists(Purchase), query)
    return [row.pk for row in response.context["cl"].result_list]


@pytest.fixture
def client_of_viewer(as_: Login) -> Client:
    return as_(site.staff(*site.VIEW))


def test_the_list_says_who_bought_what_and_what_is_left(client_of_viewer: Client) -> None:
    user = world.new_user()
    made = sell(site.package(name="Summer pack"), "pay-1", user=user)
    tokens.consume(user, 400, key="use")
    page = text(client_of_viewer.get(site.lists(Purchase)))
    for word in ("Summer pack", "EUR 9.00", "600", "Active"):
        assert word in page
    tokens.consume(user, 600, key="rest")
    assert "Used up" in text(client_of_viewer.get(site.page(made)))
    tokens.refund_purchase("pay-1", reason="r")
    assert "Taken back" in text(client_of_viewer.get(site.page(made)))


def test_what_is_left_follows_tokens_into_other_lots(client_of_viewer: Client) -> None:
    made = sell(site.package(), "pay-1")
    lot = TokenAllocation.objects.get(pk=made.allocation_id)
    tokens.rollover(lot, 700, expires_at=timezone.now() + timedelta(days=3))
    row = client_of_viewer.get(site.lists(Purchase)).context["cl"].result_list[0]
    assert [lot.remaining for lot in row.lots] == [300, 700]
    assert "1,000" in text(client_of_viewer.get(site.page(made)))


def test_purchases_are_filtered_by_package_currency_account_and_day(client_of_viewer: Client) -> None:
    one, two = site.package(1), site.package(2)
    first, second = sell(one, "a"), sell(two, "b", "USD")
    assert found(client_of_viewer) == [second.pk, first.pk]
    assert found(client_of_viewer, package=one.pk) == [first.pk]
    assert found(client_of_viewer, currency="USD") == [second.pk]
    assert found(client_of_viewer, currency="GBP") == []
    assert found(client_of_viewer, account=second.account_id) == [second.pk]
    today = timezone.localdate().isoformat()
    assert found(client_of_viewer, **{"from": today}) == [second.pk, first.pk]
    assert found(client_of_viewer, to="2020-01-01") == []
    page = text(client_of_viewer.get(site.lists(Purchase), {"package": one.pk}))
    assert "Pack 1" in page
    assert "Pack 2" in page


def test_a_purchase_is_found_by_its_whole_reference_or_its_buyer(client_of_viewer: Client) -> None:
    user = world.new_user()
    package = site.package()
    made, _other = sell(package, "pay-1", user=user), sell(package, "pay-2")
    assert found(client_of_viewer, q="pay-1") == [made.pk]
    assert found(client_of_viewer, q=user.get_username()) == [made.pk]
    assert found(client_of_viewer, q="pay") == []


def test_the_list_takes_as_many_queries_for_many_as_for_one(client_of_viewer: Client) -> None:
    package = site.package()
    counts = []
    for batch in (range(1), range(1, 30)):
        for number in batch:
            sell(package, f"pay-{number}")
        with CaptureQueriesContext(connection) as queries:
            client_of_viewer.get(site.lists(Purchase))
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_taking_back_takes_what_is_left_and_says_what_is_not(as_: Login, operator: Any) -> None:
    user = world.new_user()
    made = sell(site.package(), "pay-1", user=user)
    tokens.consume(user, 400, key="use")
    client = as_(operator)
    page = text(client.get(site.deed(made, "take-back")))
    assert "EUR 9.00" in page
    assert "600" in page
    data = {"key": str(uuid4()), "reason": "Charged back by the bank"}
    response = client.post(site.deed(made, "take-back"), data, follow=True)
    assert "600 tokens were taken back. 400 are spent, held or expired." in text(response)
    event = AuditEvent.objects.latest("pk")
    assert (event.action, event.actor, event.reason) == ("tokens.refund_purchase", operator, data["reason"])
    # There is nothing to do twice.
    assert f'href="{site.deed(made, "take-back")}"' not in text(client.get(site.page(made)))
    assert client.get(site.deed(made, "take-back")).status_code == 302
    assert tokens.balance(user).available == 0


def test_an_erased_purchase_can_still_be_taken_back(as_: Login, operator: Any) -> None:
    user = world.new_user()
    made = sell(site.package(), "pay-1", user=user)
    tokens.erase(user)
    as_(operator).post(site.deed(made, "take-back"), {"key": str(uuid4()), "reason": "r"})
    assert tokens.balance(user).available == 0


def test_the_file_has_what_was_paid_and_what_is_left(as_: Login) -> None:
    user = world.new_user()
    made = sell(site.package(code="pack"), "pay-1", user=user)
    tokens.consume(user, 400, key="use")
    client = as_(site.staff(*site.VIEW, "export_purchase"))
    response = client.post(
        reverse("admin:django_token_pricing_purchase_export"), {"key": str(uuid4()), "format": "csv", "reason": "Books"}
    )
    content = b"".join(response.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
    (row,) = csv.DictReader(io.StringIO(content))
    assert (row["number"], row["owner"], row["package"]) == (str(made.pk), user.get_username(), "pack")
    assert (row["tokens"], row["left"], row["currency"], row["payment_ref"]) == ("1000", "600", "EUR", "pay-1")
    assert float(row["amount"]) == 9


# On the page of a package


def test_the_page_of_a_package_says_how_often_it_was_bought(as_: Login) -> None:
    package = site.package()
    sell(package, "a")
    sell(package, "b")
    page = text(as_(site.staff(*site.VIEW)).get(site.page(package)))
    assert f"{site.lists(Purchase)}?package={package.pk}" in page
    assert "2 times" in page
    page = text(as_(site.staff("view_tokenpackage")).get(site.page(package)))
    assert "2 times" not in page
    assert site.lists(Purchase) not in page


def test_a_package_that_was_bought_cannot_be_deleted(as_: Login) -> None:
    package, other = site.package(name="Bought"), site.package()
    sell(package, "a")
    client = as_(site.staff("view_tokenpackage", "delete_tokenpackage"))
    data = {"key": str(uuid4()), "reason": "Old"}
    assert "Switch it off instead." in text(client.post(site.deed(package, "delete"), data))
    url = reverse("admin:django_token_pricing_tokenpackage_delete_chosen")
    response = client.post(url, {**data, "rows": f"{package.pk},{other.pk}"})
    assert "“Bought” was bought" in text(response)
    assert TokenPackage.objects.count() == 2
    assert not AuditEvent.objects.filter(action="packages.delete").exists()
