"""Dashboards in a real browser: axe finds nothing, nothing is inline or scrolls sideways, and keys reach every value.

Skipped where there is no Chromium.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.db import connection
from django.urls import reverse
from playwright.sync_api import Page, expect

from django_token_pricing import analytics, tokens
from tests import world
from tests.accessibility.test_admin import LOOKS, no_icon, open_page
from tests.admin import site

__all__ = ["open_page"]

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.slow,
    pytest.mark.skipif(connection.vendor != "sqlite", reason="the same on every database; runs with SQLite"),
]

# By the names of their addresses; a page that hangs on no row.
PAGES = {
    "overview": ("usageday_changelist", ""),
    "overview with filters": ("usageday_changelist", "range=7&unit=hour&by=feature&model=gpt-4o&model=(none)"),
    "overview of days that cannot be shown": ("usageday_changelist", "first=2026-02-01&last=2026-01-01"),
    "overview of days without use": ("usageday_changelist", "first=2020-02-01&last=2020-02-09"),
    "live view": ("usageday_live", ""),
    "cost and margin": ("usageday_costs", "by=feature&accounts=margin"),
    "utilisation": ("usageday_utilisation", ""),
    "exports": ("usageday_exports", "report=margin"),
    "exports that were taken": ("analyticsexport_changelist", ""),
    "price list": ("modelprice_changelist", ""),
    "price to add": ("modelprice_add", "model=gpt-4o&starts_at=2026-01-01"),
    "prices to import": ("modelprice_import", "publisher=openai&which=all&target=any"),
    "costs to work out anew": ("modelprice_reprice", ""),
}


def address(name: str) -> str:
    route, query = PAGES[name]
    return reverse(f"admin:django_token_pricing_{route}") + (f"?{query}" if query else "")


@pytest.fixture
def used() -> None:
    """Of seven models, one of which has markup in its name, so that one is among the others."""
    user = site.customer().user
    tokens.grant(user, 100_000, source="manual")
    for number, model in enumerate(("<b>bold</b>", "m" * 200, "two", "three", "four", "five")):
        tokens.consume(user, 1_000 - number, key=f"use {number}", model=model, feature="chat")
    analytics.fold()
    tokens.refresh_summaries()
    analytics.advise()


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_on_dashboards(look: str, open_page: Callable[..., Page], used: None) -> None:
    page = open_page(look, width=0 if look != "narrow" else 320)
    no_icon(page)
    complaints: list[str] = []
    page.on("console", lambda told: complaints.append(told.text) if told.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    found: dict[str, Any] = {}
    for name in PAGES:
        response = page.goto(address(name))
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


def test_arrow_keys_read_a_chart_and_escape_hides_the_tooltip(open_page: Callable[..., Page], used: None) -> None:
    page = open_page("light")
    page.goto(address("overview"))
    page.locator(".tp-svg-bars").focus()
    page.keyboard.press("End")
    spoken = page.locator("body > [aria-live=polite]")
    expect(spoken).to_contain_text("<b>bold</b> 1k")
    expect(page.locator(".tp-tip")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".tp-tip")).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".tp-tip")).to_be_visible()
    page.locator(".tp-svg-heat").focus()
    expect(page.locator(".tp-on")).to_have_count(0)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(spoken).to_contain_text("Tuesday 00:00")


def test_a_key_hides_its_series_and_the_rest_is_stacked_anew(open_page: Callable[..., Page], used: None) -> None:
    page = open_page("light")
    page.goto(address("overview"))
    last = page.locator(".tp-svg-bars g[data-tip]").last
    lowest, second = last.locator("rect[data-s='0']"), last.locator("rect[data-s='1']")
    bottom = lowest.evaluate("bar => Number(bar.getAttribute('y')) + Number(bar.dataset.h)")
    key = page.get_by_role("button", name="<b>bold</b>")
    key.press("Enter")
    expect(key).to_have_attribute("aria-pressed", "false")
    expect(lowest).to_be_hidden()
    assert second.evaluate("bar => Number(bar.getAttribute('y')) + Number(bar.dataset.h)") == pytest.approx(
        bottom, abs=0.2
    )
    key.press("Space")
    expect(lowest).to_be_visible()


def test_without_a_script_the_numbers_and_filters_are_there(open_page: Callable[..., Page], used: None) -> None:
    page = open_page("light", java_script_enabled=False)
    page.goto(address("overview"))
    expect(page.get_by_role("img", name="Usage by model")).to_be_visible()
    page.get_by_label("Feature", exact=True).select_option("chat")
    page.get_by_role("button", name="Apply").click()
    assert "feature=chat" in page.url
    page.get_by_role("link", name="7 days").click()
    assert "feature=chat" in page.url
    assert "range=7" in page.url
    page.get_by_role("link", name="Remove Feature: chat").click()
    assert "feature" not in page.url
    page.goto(address("live view"))
    expect(page.get_by_role("link", name="Load again")).to_be_visible()
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)


def test_the_live_view_renews_itself_until_it_is_paused(open_page: Callable[..., Page], used: None) -> None:
    page = open_page("light")
    page.goto(address("live view"))
    requests = page.locator("[data-text=minute_requests]")
    before = int(requests.inner_text())
    page.get_by_role("button", name="Pause").click()
    tokens.record_many([tokens.Use(world.new_user(), 5, key="while paused", model="new")])
    expect(page.locator("[data-state]")).to_have_text("Paused")
    with page.expect_response("**/live/figures/"):
        page.get_by_role("button", name="Go on").click()
    expect(requests).to_have_text(str(before + 1))
    expect(page.locator("tbody[data-rows=models]")).to_contain_text("new")


def test_lost_contact_is_said(open_page: Callable[..., Page], used: None) -> None:
    page = open_page("light")
    page.goto(address("live view"))
    page.route("**/live/figures/", lambda route: route.abort())
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("[data-state]")).to_contain_text("No contact since")
