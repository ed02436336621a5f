"""Policies are written with a preview and refused where they contradict themselves; what is due is renewed at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_token_pricing import jobs, tokens
from django_token_pricing.models import AuditEvent, Job, RenewalPolicy
from tests.admin import site
from tests.automation.subscribers import new_policy, renew, standing, subscribe

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "sqlite", reason="the same on every database; runs with SQLite"),
]
ADD = "admin:django_token_pricing_renewalpolicy_add"


def form(**changed: Any) -> dict[str, Any]:
    given = {
        "code": "pro",
        "is_active": "on",
        "starts_at": "2026-01-01T00:00:00",
        "unit": "month",
        "count": 1,
        "anchor": "subscription",
        "missed": "catch_up",
        "tokens": "5,000",
        "priority": 100,
        "lasts": "period",
        "rollover": "percent",
        "rollover_percent": 50,
        "on_upgrade": "prorated",
        "on_downgrade": "keep",
        "on_past_due": "wait",
        "on_cancel": "keep",
        "reason": "The new price list",
    }
    return {name: value for name, value in {**given, **changed}.items() if value is not None}


def test_a_policy_is_added_with_its_reason_in_history_and_audit_trail(owners_client: Client) -> None:
    response = owners_client.post(reverse(ADD), form())
    assert response.status_code == 302, response.context["adminform"].form.errors
    policy = RenewalPolicy.objects.get()
    assert policy.history.get().history_change_reason == "The new price list"
    assert AuditEvent.objects.get(action="policies.add").reason == "The new price list"


def test_a_preview_shows_what_is_in_the_form_and_saves_nothing(owners_client: Client) -> None:
    response = owners_client.post(reverse(ADD), form(reason="", _preview="1"))
    assert response.status_code == 200
    assert "Nothing is saved yet." in response.content.decode()
    rows = response.context["preview"].rows
    assert len(rows) == 12
    assert (rows[0]["granted"], rows[1]["carried"]) == ("5,000", "1,250")
    assert not RenewalPolicy.objects.exists()


@pytest.mark.parametrize(
    ("changed", "field"),
    [({"rollover_cap": "5001"}, "rollover_cap"), ({"count": 0}, "count"), ({"rollover": "all"}, "rollover_percent")],
)
@pytest.mark.parametrize("button", ["_save", "_preview"])
def test_a_contradiction_is_an_error_of_its_field(
    owners_client: Client, changed: dict[str, Any], field: str, button: str
) -> None:
    response = owners_client.post(reverse(ADD), form(**changed, **{button: "1"}))
    assert list(response.context["adminform"].form.errors) == [field]
    assert not RenewalPolicy.objects.exists()


def test_the_page_of_a_policy_shows_the_periods_of_whoever_is_chosen(owners_client: Client) -> None:
    policy = new_policy(is_per_seat=True, tokens=10)
    chosen = {"start": "2028-02-29", "zone": "Asia/Tokyo", "seats": 3, "used": 100}
    found = owners_client.get(site.page(policy), chosen).context["preview"]
    assert (found.rows[0]["start"], found.rows[0]["granted"]) == ("29 Feb 2028", "30")
    wrong = owners_client.get(site.page(policy), {**chosen, "zone": "Nowhere"})
    assert wrong.context["preview"] is None
    assert "There is no such time zone." in wrong.content.decode()


def test_what_is_due_is_renewed_at_once_by_who_may(operator: Any, client: Client) -> None:
    now = timezone.now()
    subscription = subscribe(new_policy(unit="day"), now - timedelta(days=1, minutes=1))
    renew(now - timedelta(hours=1))
    client.force_login(operator)
    response = client.post(site.deed(standing(subscription), "renew"))
    job = Job.objects.get(kind="automation.renew_chosen")
    assert response.status_code == 302
    jobs.work(job.pk)
    assert tokens.balance(subscription.user).available == 1_000
    assert standing(subscription).number == 1
