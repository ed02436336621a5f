"""The live view: a page that works without a script, and the figures that its script asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_token_pricing import tokens
from django_token_pricing.analytics import newest
from tests import world
from tests.admin import site

pytestmark = pytest.mark.django_db
Login = Callable[[Any], Client]
EVIL = "<script>alert(1)</script>"


def page() -> str:
    return reverse("admin:django_token_pricing_usageday_live")


def figures() -> str:
    return reverse("admin:django_token_pricing_usageday_pulse")


def use(amount: int = 100, *, model: str = "gpt-4o", user: Any = None) -> Any:
    user = user or world.new_user()
    given = {"model": model, "feature": "chat", "used_at": timezone.now()}
    tokens.record_many([tokens.Use(user, amount, key=uuid4().hex, **given)])
    return user


def test_page_and_poll_say_the_same(owners_client: Client) -> None:
    user = use(1_500)
    use(2_500, model="other")
    text = owners_client.get(page()).content.decode()
    found = owners_client.get(figures()).json()
    assert found["texts"]["minute_tokens"] == "4k"
    assert found["texts"]["minute_requests"] == "2"
    for shown in ("4k", user.get_username(), "other"):
        assert shown in text
    assert [row[:1] + row[2:] for row in found["tables"]["models"]] == [["other", "2.5k", "1"], ["gpt-4o", "1.5k", "1"]]


def test_nothing_used_is_said_in_words(owners_client: Client) -> None:
    assert "Nothing in the last hour." in owners_client.get(page()).content.decode()
    assert owners_client.get(figures()).json()["tables"] == {"users": [], "models": [], "features": []}


def test_names_are_text(owners_client: Client) -> None:
    use(model=EVIL)
    assert EVIL not in owners_client.get(page()).content.decode()
    assert owners_client.get(figures()).json()["tables"]["models"][0][0] == EVIL


def test_without_permission_nothing_is_told(staff_without_permission: Any, as_: Login) -> None:
    client = as_(staff_without_permission)
    assert client.get(page()).status_code == 403
    assert client.get(figures()).status_code == 403
    assert client.post(page()).status_code == 403


def test_strangers_are_sent_to_the_login(client: Client) -> None:
    assert client.get(figures()).status_code == 302


def test_accounts_are_for_those_who_may_see_them(as_: Login) -> None:
    user = use()
    client = as_(site.staff("view_analytics"))
    assert "Accounts are hidden." in client.get(page()).content.decode()
    found = client.get(figures())
    assert found.json()["tables"]["users"] == []
    assert user.get_username() not in found.content.decode()


def test_answers_are_not_kept(owners_client: Client) -> None:
    assert owners_client.get(figures())["Cache-Control"].startswith(("no-store", "max-age=0"))


def test_a_poll_takes_as_many_queries_for_50_uses_as_for_5(
    owners_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest, "MOST_READ", 5)

    def ask() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert owners_client.get(figures()).status_code == 200
        return len(captured)

    for _number in range(5):
        use()
    ask()
    few = ask()
    for number in range(45):
        use(model=f"model-{number}")
    assert ask() == few <= 7


def test_what_is_scaled_says_so(owners_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest, "MOST_READ", 3)
    for _number in range(4):
        use()
    texts = owners_client.get(figures()).json()["texts"]
    assert texts["minute_tokens"].startswith("about ")
    assert texts["hour_tokens"].startswith("about ")
    assert "more uses than are read" in texts["note"]
