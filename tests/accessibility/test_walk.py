"""An operator's day in a real browser: grant to one, to ten thousand by a filter, import a messy file, mend it, export.

Skipped where there is no Chromium.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from playwright.sync_api import Browser, Page

from django_token_pricing import jobs, tokens
from django_token_pricing.models import TokenAccount, TokenAllocation
from tests import world
from tests.admin import site

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.slow,
    pytest.mark.skipif(connection.vendor != "sqlite", reason="the same on every database; runs with SQLite"),
]

MANY = 10_000


@pytest.fixture
def page(browser: Browser, live_server: Any, client: Client) -> Iterator[Page]:
    client.force_login(site.staff(is_superuser=True))
    context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=live_server.url)
    context.add_cookies(
        [{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}]  # type: ignore[list-item]
    )
    yield context.new_page()
    context.close()


def work() -> None:
    """What a worker does meanwhile."""
    for job in jobs.sweep():
        jobs.work(job)


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def test_one_account(page: Page) -> None:
    account = site.customer().account
    page.goto(site.page(account))
    page.get_by_role("link", name="Grant tokens").click()
    page.get_by_role("textbox", name="Tokens").fill("2,500")
    page.get_by_label("Reason").fill("Goodwill")
    press(page, "Grant tokens")
    assert "2,500 tokens were granted." in page.locator(".messagelist").inner_text()
    assert tokens.balance(account).available == 10_000 - 100 - 50 + 2_500


def test_ten_thousand_accounts_by_a_filter(page: Page) -> None:
    users = world.new_users(MANY)
    tokens.grant_many([tokens.GrantRow(user, 10) for user in users], source="plan")
    pool = world.new_pool()
    tokens.grant(pool, 7, source="purchase")
    page.goto(f"{site.lists(TokenAccount)}?owner=user")
    page.locator("#action-toggle").check()
    page.get_by_role("button", name="Select all that match").click()
    page.get_by_label("Action:").select_option("grant")
    press(page, "Go")
    page.get_by_role("textbox", name="Tokens").fill("500")
    press(page, "Show what would happen")
    assert "Preparing" in page.locator("#tp-live").inner_text()
    work()
    page.get_by_role("heading", name="Grant tokens to 10,000 accounts?").wait_for()  # the page renews itself
    page.get_by_label("Reason").fill("Goodwill for the outage, INC-204")
    page.get_by_label("Type 10,000 to confirm").fill("9999")
    press(page, "Grant tokens")
    assert "This is not the number of rows" in page.locator(".errorlist").inner_text()
    page.get_by_label("Type 10,000 to confirm").fill("10000")
    press(page, "Grant tokens")
    work()
    page.get_by_text("100%").wait_for()
    assert TokenAllocation.objects.filter(amount=500).count() == MANY
    assert tokens.balance(pool).available == 7


def test_a_messy_file_is_mended_applied_and_exported(page: Page, tmp_path: Any) -> None:
    one, two = world.new_users(2)
    lines = [
        "E-Mail ;Tokens; Expires ;Source;Reason;Key",
        f"{one.email.upper()};1.200.000;2030-12-31;promotion;Mässe Köln;spring:1",
        f"{two.email};12x;31/02/2030;manual;;spring:2",
        "nobody@example.com;5;;manual;;spring:3",
        ";;;;;",
    ]
    messy, mended = tmp_path / "messy.csv", tmp_path / "mended.csv"
    messy.write_bytes("\r\n".join(lines).encode("cp1252"))
    right = [lines[0], lines[1], lines[2].replace("12x", "12").replace("31/02", "28/02"), ";;;;;"]
    mended.write_bytes("\r\n".join(right).encode("cp1252"))

    def upload(path: Any) -> None:
        page.goto(site.lists(TokenAllocation))
        page.get_by_role("link", name="Import").click()
        page.get_by_label("File").set_input_files(path)
        press(page, "Upload and check")

    upload(messy)
    text = page.locator("#content").inner_text()
    for wrong in ("“12x” is not a number.", "“31/02/2030” is not a date.", "nobody@example.com"):
        assert wrong in text
    assert not TokenAllocation.objects.exists()
    upload(mended)
    page.get_by_label("Reason").fill("Spring fair")
    press(page, "Import 2 lines")
    work()
    page.get_by_text("100%").wait_for()
    assert tokens.balance(one).available == 1_200_000
    upload(mended)
    assert "2 lines were granted before." in page.locator("#content").inner_text()

    page.goto(site.lists(TokenAllocation))
    page.get_by_role("link", name="Export", exact=True).click()
    with page.expect_download() as download:
        page.locator("form.tp-form input[type=submit]").click()
    with open(download.value.path(), encoding="utf-8-sig", newline="") as file:
        rows = {row["key"]: row for row in csv.DictReader(io.StringIO(file.read()))}
    assert (rows["spring:1"]["owner"], rows["spring:1"]["amount"], rows["spring:1"]["reason"]) == (
        one.email,
        "1200000",
        "Mässe Köln",
    )
    assert rows["spring:2"]["reason"] == "Spring fair"
