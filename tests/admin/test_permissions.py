"""Who may look, and that nobody may do anything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.admin import site

pytestmark = pytest.mark.django_db

# Pools and packages are edited in the stock form (test_deeds, test_packages).
MODELS = pytest.mark.parametrize("model", site.MODELS, ids=lambda model: model._meta.model_name)
Login = Callable[[Any], Client]


def urls(model: type[Any]) -> list[str]:
    row = model.objects.order_by("-pk").first()
    return [site.lists(model), site.page(row)]


@MODELS
@pytest.mark.parametrize("who", ["owner", "operator", "viewer"])
def test_who_may_view_sees_list_and_row(model: type[Any], who: str, as_: Login, request: Any) -> None:
    site.customer()
    client = as_(request.getfixturevalue(who))
    for url in urls(model):
        assert client.get(url).status_code == 200, url


@MODELS
def test_staff_without_permission_is_refused(model: type[Any], staff_without_permission: Any, as_: Login) -> None:
    site.customer()
    for url in urls(model):
        assert as_(staff_without_permission).get(url).status_code == 403, url


@MODELS
def test_who_may_change_but_not_view_is_refused(model: type[Any], as_: Login) -> None:
    site.customer()
    name = model._meta.model_name
    client = as_(site.staff(f"change_{name}", f"delete_{name}", f"add_{name}"))
    for url in urls(model):
        assert client.get(url).status_code == 403, url


@MODELS
@pytest.mark.parametrize("is_logged_in", [True, False])
def test_strangers_are_sent_to_the_login(
    model: type[Any], is_logged_in: bool, stranger: Any, client: Client, as_: Login
) -> None:
    site.customer()
    client = as_(stranger) if is_logged_in else client
    for url in [*urls(model), site.index()]:
        response = client.get(url)
        assert response.status_code == 302, url
        assert "/login/" in response["Location"]


@pytest.mark.parametrize(
    "model", [model for model in site.MODELS if model not in site.EDITED], ids=lambda model: model._meta.model_name
)
def test_nothing_is_added_changed_or_deleted_by_a_superuser(model: type[Any], owners_client: Client) -> None:
    site.customer()
    row = model.objects.order_by("-pk").first()
    before = list(model.objects.order_by("pk").values())
    name = f"admin:django_token_pricing_{model._meta.model_name}"
    add, delete = reverse(f"{name}_add"), reverse(f"{name}_delete", args=[row.pk])
    assert owners_client.get(add).status_code == 403
    assert owners_client.post(add, {}).status_code == 403
    assert owners_client.get(delete).status_code == 403
    assert owners_client.post(delete, {"post": "yes"}).status_code == 403
    assert owners_client.post(site.page(row), {"tier": "gold", "name": "x"}).status_code in (403, 405)
    action = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    owners_client.post(site.lists(model), action)
    assert list(model.objects.order_by("pk").values()) == before


@MODELS
def test_a_row_that_is_not_there_leads_back(model: type[Any], owners_client: Client) -> None:
    name = f"admin:django_token_pricing_{model._meta.model_name}_change"
    for key in ("999999", "nonsense", "9" * 30):
        assert owners_client.get(reverse(name, args=[key])).status_code == 302


def test_the_index_lists_what_the_person_may_view(viewer: Any, as_: Login) -> None:
    text = as_(viewer).get(site.index()).content.decode()
    for model in site.MODELS:
        assert site.lists(model) in text
    text = as_(site.staff("view_auditevent")).get(site.index()).content.decode()
    assert "Security" in text
    assert "Token accounts" not in text


def test_the_index_is_hidden_without_any_permission(staff_without_permission: Any, as_: Login) -> None:
    assert as_(staff_without_permission).get(site.index()).status_code == 404


def test_costs_are_for_those_who_may_see_them(operator: Any, viewer: Any, as_: Login) -> None:
    customer = site.customer()
    use = customer.account.usage.get()
    urls = [site.page(customer.account), site.lists(type(use)), site.page(use)]
    for url in urls:
        assert "USD 0.25" in as_(operator).get(url).content.decode(), url
    for url in urls:
        text = as_(viewer).get(url).content.decode()
        assert "USD" not in text, url
        assert "Cost" not in text, url


def test_the_account_page_hides_what_the_person_may_not_view(as_: Login) -> None:
    customer = site.customer()
    text = as_(site.staff("view_tokenaccount")).get(site.page(customer.account)).content.decode()
    for hidden in ("Lots are hidden.", "Holds are hidden.", "Usage is hidden.", "Entries are hidden."):
        assert hidden in text
    assert "9,850" in text  # what is available, which the list of accounts shows as well
    assert "10,000" not in text
    assert "Goodwill" not in text
    for model in site.MODELS[1:]:
        assert site.lists(model) not in text
    assert "sub-" not in text
