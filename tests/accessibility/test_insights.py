"""The forecast, alerts and their rules in a real browser: axe finds nothing, nothing is inline or scrolls sideways."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.db import connection
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page

from django_token_pricing import analytics, jobs
from django_token_pricing.analytics import anomalies
from django_token_pricing.models import Anomaly, AnomalyRule, Forecast, TokenAccount, UsageDay
from tests import world
from tests.accessibility.test_admin import LOOKS, no_icon, open_page
from tests.admin import site
from tests.analytics import hours

__all__ = ["open_page"]

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.slow,
    pytest.mark.skipif(connection.vendor != "sqlite", reason="the same on every database; runs with SQLite"),
]


@pytest.fixture
def addresses() -> dict[str, str]:
    """By their names; the usage has a planted fault."""
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    at = now - timedelta(hours=20)
    hours.fill(
        lambda moment: hours.day_and_night(moment) * (30 if moment == at else 1),
        model="m" * 200,
        tier="<b>team</b>",
        since=now - timedelta(days=50),
        until=now,
    )
    hours.folded(now)
    for rule in analytics.default_rules():
        rule.least = 1
        rule.save()
    analytics.find_anomalies()
    account = TokenAccount.objects.create(user=world.new_user())
    of_account, of_site = site.alert(account), Anomaly.objects.filter(scope="site").latest("pk")
    analytics.make_forecasts()
    terms = {"kind": "seasonal", "scope": "site", "sensitivity": 5, "least": 1}
    job = anomalies.ask_anomaly_replay(terms, days=30, actor=None, key=uuid4())
    jobs.work(job.pk)
    forecast = reverse("admin:django_token_pricing_usageday_forecast")
    return {
        "forecast": forecast,
        "forecast of a model": f"{forecast}?of=model:{'m' * 200}&metric=cost&days=7",
        "alerts": site.lists(Anomaly),
        "alert": site.page(of_site),
        "alert of an account": site.page(of_account),
        "alert to mute": site.deed(of_site, "mute"),
        "alert to acknowledge": site.deed(of_site, "acknowledge"),
        "rules": site.lists(AnomalyRule),
        "rule": site.page(of_site.rule),
        "rule to add": reverse("admin:django_token_pricing_anomalyrule_add"),
        "trial": site.page(job),
    }


def look_at(page: Page, addresses: dict[str, str]) -> None:
    no_icon(page)
    complaints: list[str] = []
    page.on("console", lambda told: complaints.append(told.text) if told.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    found = {}
    for name, address in addresses.items():
        response = page.goto(address)
        assert response is not None
        assert response.ok, name
        for details in page.locator("details.tp-data").all():
            details.locator("summary").click()
        assert not complaints, name
        if violations := Axe().run(page).response["violations"]:
            found[name] = [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in violations]
        # Axe looks for style sheets where there are none.
        complaints.clear()
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), name
    assert not found


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing(look: str, open_page: Callable[..., Page], addresses: dict[str, str]) -> None:
    look_at(open_page(look, width=0 if look != "narrow" else 320), addresses)


def test_axe_finds_nothing_where_there_is_nothing_yet(open_page: Callable[..., Page]) -> None:
    page = open_page("light")
    empty = {
        "forecast": reverse("admin:django_token_pricing_usageday_forecast"),
        "alerts": site.lists(Anomaly),
        "rules": site.lists(AnomalyRule),
    }
    look_at(page, empty)
    UsageDay.objects.create(day=analytics.today() - timedelta(days=1), tokens=5)
    analytics.make_forecasts()
    assert Forecast.objects.filter(note="short").exists()
    look_at(page, {"forecast of too little": empty["forecast"]})
