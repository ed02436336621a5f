"""Our admin pages in a real browser: axe finds nothing, nothing is inline, nothing scrolls sideways.

Skipped where there is no Chromium.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Browser, Page

from django_token_pricing import tokens
from django_token_pricing.models import LedgerEntry, TokenAccount, TokenAllocation, TokenHold, TokenUsageLog
from tests import world
from tests.admin import site

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.slow,
    pytest.mark.skipif(connection.vendor != "sqlite", reason="the same on every database; runs with SQLite"),
]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'"
)
LOOKS = {"light": ("light", 1280), "dark": ("dark", 1280), "narrow": ("light", 420)}


def no_icon(page: Page) -> None:
    """The browser asks for an icon of the site, which is the host's to have."""
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))


def strict_policy(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return middleware


@pytest.fixture
def addresses() -> dict[str, str]:
    """The pages with their several states, each with rows."""
    customer = site.customer(feature="<script>alert(1)</script>")
    closed = site.customer()
    closed.user.delete()
    pool = world.new_pool(world.new_user())
    tokens.grant(pool, 1_000, source="purchase")
    empty = TokenAccount.objects.create(user=world.new_user())
    entry = LedgerEntry.objects.filter(account=customer.account).first()
    mine = {"account": customer.account}
    whose = {
        TokenAccount: {"pk": customer.account.pk},
        **dict.fromkeys((TokenAllocation, TokenHold, TokenUsageLog), mine),
    }
    return {
        "index": site.index(),
        "account": site.page(customer.account),
        "closed account": site.page(closed.account),
        "pool's account": site.page(pool.account),
        "empty account": site.page(empty),
        "entry": site.page(entry),
        "hold": site.page(TokenHold.objects.first()),
        "pool": site.page(pool),
        "new pool": reverse("admin:django_token_pricing_tokenpool_add"),
        "member": site.page(pool.members.get()),
        "filtered entries": f"{site.lists(LedgerEntry)}?account={customer.account.pk}&from=2026-01-01",
        "nothing found": f"{site.lists(LedgerEntry)}?q=nobody",
        **{
            f"{name} of {model._meta.verbose_name}": site.deed(
                model.objects.filter(**whose.get(model, {})).first(), name
            )
            for model, name, _permission in site.DEEDS
        },
        **{f"list of {model._meta.verbose_name_plural}": site.lists(model) for model in site.MODELS},
    }


@pytest.fixture
def open_page(browser: Browser, live_server: Any, client: Client, settings: Any) -> Iterator[Callable[[str], Page]]:
    settings.MIDDLEWARE = [f"{__name__}.strict_policy", *settings.MIDDLEWARE]
    client.force_login(site.staff(is_superuser=True))
    contexts = []

    def start(look: str, width: int = 0, **options: Any) -> Page:
        scheme, usual = LOOKS[look]
        context = browser.new_context(
            color_scheme=scheme,  # type: ignore[arg-type]
            viewport={"width": width or usual, "height": 900},
            base_url=live_server.url,
            **options,
        )
        contexts.append(context)
        name, value = "sessionid", client.cookies["sessionid"].value
        context.add_cookies([{"name": name, "value": value, "url": live_server.url}])
        return context.new_page()

    yield start
    for context in contexts:
        context.close()


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing(look: str, open_page: Callable[..., Page], addresses: dict[str, str]) -> None:
    page = open_page(look)
    found = {}
    for name, address in addresses.items():
        response = page.goto(address)
        assert response is not None
        assert response.ok, name
        for details in page.locator("details.tp-data").all():
            details.locator("summary").click()
        violations = Axe().run(page).response["violations"]
        if violations:
            found[name] = [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in violations]
    assert not found


def test_nothing_is_inline_and_nothing_scrolls_sideways(
    open_page: Callable[..., Page], addresses: dict[str, str]
) -> None:
    page = open_page("narrow", width=320)
    no_icon(page)
    complaints: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    for name, address in addresses.items():
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), name
        assert not complaints, name


def test_the_tooltip_shows_what_is_under_the_pointer_and_escape_hides_it(
    open_page: Callable[..., Page], addresses: dict[str, str]
) -> None:
    page = open_page("light")
    page.goto(addresses["account"])
    page.locator("[data-tip] .tp-hit").last.hover()
    tip = page.locator(".tp-tip")
    assert tip.is_visible()
    assert "<script>alert(1)</script>" in tip.inner_text()
    page.keyboard.press("Escape")
    assert tip.is_hidden()


def test_pages_work_without_script_by_keyboard(open_page: Callable[..., Page], addresses: dict[str, str]) -> None:
    page = open_page("light", java_script_enabled=False)
    page.goto(addresses["filtered entries"])
    page.get_by_label("From").fill("2030-01-01")
    page.get_by_role("button", name="Apply").press("Enter")
    page.wait_for_url("**from=2030-01-01**")
    assert "0 ledger entries" in page.locator(".paginator").inner_text()
    page.goto(addresses["account"])
    page.get_by_text("Show as table").press("Enter")
    assert page.get_by_role("cell", name="100").first.is_visible()
    page.get_by_role("link", name="All entries").press("Enter")
    page.wait_for_url("**/ledgerentry/?account=*")
