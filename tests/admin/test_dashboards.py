"""What holds for every dashboard: who may open it, that it survives any parameters, and that its charts are files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from django_token_pricing.admin.analytics.pages import PAGES
from tests.admin import site
from tests.analytics.rolled import roll_up

pytestmark = pytest.mark.django_db
Login = Callable[[Any], Client]
EACH = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.page)


def url(page: Any) -> str:
    return reverse(f"admin:django_token_pricing_usageday_{'changelist' if page.page == 'overview' else page.page}")


@pytest.fixture
def rolled() -> None:
    site.customer()
    roll_up()


@EACH
def test_it_opens_with_its_permissions_alone(page: Any, as_: Login, rolled: None) -> None:
    response = as_(site.staff(*page.permissions)).get(url(page))
    assert response.status_code == 200
    assert [tab.text for tab in response.context["tabs"] if tab.is_current] == [str(page.title)]


@EACH
def test_it_opens_before_anything_was_rolled_up(page: Any, owners_client: Client) -> None:
    assert owners_client.get(url(page)).status_code == 200


@EACH
def test_each_permission_is_needed(page: Any, as_: Login, rolled: None) -> None:
    for left_out in page.permissions:
        client = as_(site.staff(*(name for name in page.permissions if name != left_out)))
        assert client.get(url(page)).status_code == 403, left_out


@EACH
def test_strangers_are_sent_to_the_login(page: Any, client: Client, rolled: None) -> None:
    response = client.get(url(page))
    assert response.status_code == 302
    assert "/login/" in response["Location"]


@EACH
@pytest.mark.parametrize(
    "query",
    [
        "first=2026-02-01&last=2026-01-01",
        "first=1900-01-01&last=2026-01-01",
        "first=2026-01-01&last=9999-12-31",
        "range=%00&model=%00&by=x&unit=x&p=x",
        "model=" + "x" * 3_000,
        "days=-1&scope=x&name=<b>&metric=x",
    ],
)
def test_no_parameters_break_it(page: Any, query: str, owners_client: Client, rolled: None) -> None:
    response = owners_client.get(f"{url(page)}?{query}")
    assert response.status_code in (200, 400)


@EACH
def test_its_charts_are_files_for_who_may_export(page: Any, as_: Login, rolled: None) -> None:
    for name in page.drawings:
        file = reverse("admin:django_token_pricing_usageday_chart", args=[page.page, name, "csv"])
        if "export_analytics" not in page.permissions:
            assert as_(site.staff(*page.permissions)).get(file).status_code == 403
        assert as_(site.staff("export_analytics")).get(file).status_code == 403
        assert as_(site.staff("export_analytics", *page.permissions)).get(file).status_code in (200, 404)
