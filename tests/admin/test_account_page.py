"""The page of an account says what is there, of users, pools and closed accounts, on any admin site."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin import AdminSite
from django.db import connection, transaction
from django.db.models import QuerySet
from django.test import Client, RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import path, reverse
from django.utils import timezone, translation

from django_token_pricing import tokens
from django_token_pricing.admin.base.wording import short_day
from django_token_pricing.admin.tokens import TokenAccountAdmin, spending
from django_token_pricing.models import LedgerEntry, TokenAccount, TokenAllocation, TokenUsageLog
from django_token_pricing.tokens.limits import rules
from tests import world
from tests.admin import site

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
other_site = AdminSite(name="backoffice")
other_site.register(TokenAccount, TokenAccountAdmin)
urlpatterns = [path("admin/", AdminSite(name="admin").urls), path("backoffice/", other_site.urls)]


def text_of(client: Client, account: TokenAccount) -> str:
    response = client.get(site.page(account))
    assert response.status_code == 200
    return str(response.content.decode())


def used(user: Any, days_ago: int, amount: int, feature: str = "chat") -> None:
    at = timezone.now() - days_ago * DAY
    tokens.record_many([tokens.Use(user, amount, key=f"{user.pk}:{at}:{feature}", used_at=at, feature=feature)])


def spent(user: Any, days_ago: int, amount: int) -> None:
    """Charged some days ago, as far as the page can tell."""
    at = timezone.now() - days_ago * DAY
    use = tokens.consume(user, amount, key=f"{uuid4()}")
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT set_config('token_pricing.maintenance', 'on', true)")
        # Their own managers refuse it.
        QuerySet(TokenUsageLog).filter(pk=use.usage).update(used_at=at)
        QuerySet(LedgerEntry).filter(usage=use.usage).update(booked_at=at)


def test_cards_lots_holds_use_and_entries_are_shown(owners_client: Client) -> None:
    customer = site.customer()
    text = text_of(owners_client, customer.account)
    assert customer.user.get_username() in text
    for shown in ("9,850", "balance 9,900 − held 50", "in 1 open hold", "chat · gpt-4o", "+10,000", "−100", "Goodwill"):
        assert shown in text, shown
    assert "the pace needs 7 full days of use; there are 0" in text
    assert "USD 0.25" in text


def test_what_is_held_of_an_expired_lot_is_part_of_the_balance(owners_client: Client) -> None:
    user = world.new_user()
    now = timezone.now()
    tokens.grant(user, 1_000, source="manual")
    lot = tokens.grant(user, 500, source="promotion", expires_at=now + timedelta(seconds=0.3), priority=1).allocation
    tokens.hold(user, 70, key="job")
    time.sleep(0.4)
    text = text_of(owners_client, user.token_account)
    assert TokenAllocation.objects.get(pk=lot).expires_at < timezone.now()
    assert "Held of expired lots" in text
    assert "balance 1,070 − held 70" in text
    assert re.search(r"Balance</th><td[^>]*>1,070<", text)


def test_it_takes_as_many_queries_for_30_of_everything_as_for_one(owners_client: Client) -> None:
    customer = site.customer()
    # Else the counters of limits would be made of the log once.
    tokens.consume(customer.user, 1, key="first")
    url = site.page(customer.account)
    owners_client.get(url)
    with CaptureQueriesContext(connection) as one:
        owners_client.get(url)
    for number in range(30):
        tokens.grant(customer.user, 10 + number, source="manual", reason=f"Lot {number}")
        tokens.consume(customer.user, 1, key=f"use:{number}", feature=f"feature {number}")
        tokens.hold(customer.user, 1, key=f"hold:{number}")
        used(customer.user, number, 5)
    with CaptureQueriesContext(connection) as many:
        response = owners_client.get(url)
    assert len(many) == len(one)
    assert len(one) <= 22
    text = response.content.decode()
    assert "6 more lots" in text
    assert "25 more open holds" in text
    assert "Other features" in text


def test_lots_stand_in_burn_order_with_what_no_hold_reserves(owners_client: Client) -> None:
    user, now = world.new_user(), timezone.now()
    tokens.grant(user, 100, source="plan", expires_at=now + 40 * DAY)
    tokens.grant(user, 300, source="manual")
    tokens.grant(user, 50, source="promotion", expires_at=now + 2 * DAY)
    tokens.grant(user, 70, source="emergency", priority=1, expires_at=now + 90 * DAY)
    tokens.grant(user, 1_000, source="purchase", starts_at=now + DAY)
    tokens.hold(user, 100, key="job")
    context = owners_client.get(site.page(user.token_account)).context
    rows = context["lots"].rows
    assert [(row.key, row.left, row.free) for row in rows] == [
        ("A", 70, 0),
        ("B", 50, 20),
        ("C", 100, 100),
        ("D", 300, 300),
    ]
    assert [row.is_soon for row in rows] == [False, True, False, False]
    assert "1,000 more start later" in context["cards"][0].note or "1k more start later" in context["cards"][0].note
    (hold,) = context["holds"].rows
    assert (hold.tokens, hold.lots) == ("100", "from lot A, B")


def test_the_pace_says_how_long_it_lasts_and_what_expires_unused(owners_client: Client) -> None:
    user, now = world.new_user(), timezone.now()
    tokens.grant(user, 1_000, source="manual")
    tokens.grant(user, 900, source="promotion", expires_at=now + 5 * DAY)
    for days in range(1, 15):
        used(user, days, 100)
    used(user, 40, 1_000)
    context = owners_client.get(site.page(user.token_account)).context
    cards = {card.label: card for card in context["cards"]}
    # Half of the 29 full days had use: 1,400 tokens in 29 days.
    assert "48.3 a day" in cards["Lasts until"].note
    assert (cards["Used in 30 days"].figure, cards["Used in 30 days"].strong) == ("1,400", "+40%")
    assert "expire unused" in context["lots_note"]


@pytest.mark.parametrize("is_pool", [False, True])
def test_of_very_many_uses_only_the_latest_whole_days_are_summed(
    is_pool: bool, owners_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = world.new_user()
    pool = world.new_pool(user)
    owner = pool if is_pool else user
    account = TokenAccount.objects.get(pk=tokens.grant(owner, 10_000, source="manual").account)
    for days in (40, 3, 3, 2, 2, 1, 0):
        spent(user, days, 100)

    def shown(most: int) -> tuple[dict[str, Any], Any, int]:
        monkeypatch.setattr(spending, "MOST_USES", most)
        with CaptureQueriesContext(connection) as captured:
            context = owners_client.get(site.page(account)).context
        return {card.label: card for card in context["cards"]}, context["usage"], len(captured)

    shown(1_000)
    cards, chart, few = shown(1_000)
    assert (cards["Used in 30 days"].figure, chart.note) == ("600", "")
    cards, chart, many = shown(5)
    # Of the day before those, not all uses are among the latest.
    since = short_day(timezone.localdate(timezone=timezone.get_default_timezone()) - 2 * DAY)
    assert cards[f"Used since {since}"].figure == "400"
    assert chart.note == f"This account is used so much that only the days since {since} are summed here."
    assert "the mean of 2 days" in cards["Lasts until"].note
    assert many == few
    assert [total for _day, _cells, total in chart.rows[:4]] == ["100", "100", "200", "—"]


def test_of_very_many_uses_of_today_the_last_ones_are_summed(
    owners_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = world.new_user()
    tokens.grant(user, 10_000, source="manual")
    for number in range(6):
        tokens.consume(user, 10, key=f"use:{number}")
    monkeypatch.setattr(spending, "MOST_USES", 4)
    context = owners_client.get(site.page(user.token_account)).context
    assert context["usage"].note.endswith("only its last 4 uses are summed here, all of today.")
    cards = {card.label: card for card in context["cards"]}
    assert cards[f"Used since {short_day(timezone.localdate())}"].figure == "40"
    assert cards["Lasts until"].note == "no whole day of its uses is summed here"


def test_an_account_whose_user_was_deleted_is_closed(owners_client: Client) -> None:
    customer = site.customer()
    name = customer.user.get_username()
    customer.user.delete()
    text = text_of(owners_client, customer.account)
    assert f"Account {customer.account.pk}, closed" in text
    assert "The user of this account was deleted." in text
    assert name not in text
    for model in site.MODELS:
        assert owners_client.get(site.lists(model)).status_code == 200


def test_a_pools_page_has_its_members_and_their_use(owners_client: Client) -> None:
    member, idle = world.new_user(), world.new_user()
    pool = world.new_pool(member, idle, cap=500)
    tokens.grant(pool, 1_000, source="purchase")
    tokens.consume(member, 120, key="use", feature="search")
    tokens.hold(member, 30, key="job:9")
    text = text_of(owners_client, pool.account)
    assert pool.name in text
    assert "2 members" in text
    assert re.search(r">120</td><td class=\"num\">500<", text)
    assert "search" in text
    assert "job:9" in text
    members_page = text_of(owners_client, TokenAccount.objects.get(user=member))
    assert pool.name in members_page
    assert "more from the pool" in members_page


def test_an_empty_account_says_what_will_stand_there(owners_client: Client) -> None:
    account = TokenAccount.objects.create(user=world.new_user())
    text = text_of(owners_client, account)
    for words in ("No live lot.", "Nothing is held.", "No use in the last 30 days.", "No entry yet."):
        assert words in text


def test_only_looking_is_answered(owners_client: Client) -> None:
    account = TokenAccount.objects.create()
    assert owners_client.post(site.page(account)).status_code == 405
    assert owners_client.head(site.page(account)).status_code == 200


@override_settings(ROOT_URLCONF="tests.admin.test_account_page")
def test_it_works_on_another_admin_site(owners_client: Client) -> None:
    customer = site.customer()
    url = reverse(
        "admin:django_token_pricing_tokenaccount_change", args=[customer.account.pk], current_app="backoffice"
    )
    assert url.startswith("/backoffice/")
    response = owners_client.get(url)
    text = response.content.decode()
    assert response.status_code == 200
    assert "/admin/" not in text.replace("/static/admin/", "")
    # Nothing else is registered there, so nothing else is linked or shown.
    assert "Entries are hidden." in text
    assert (
        owners_client.get(
            reverse("admin:app_list", args=["django_token_pricing"], current_app="backoffice")
        ).status_code
        == 200
    )


def test_numbers_and_dates_follow_the_readers_language(owners_client: Client) -> None:
    customer = site.customer()
    with translation.override("de"):
        text = owners_client.get(site.page(customer.account), headers={"accept-language": "de"}).content.decode()
    assert "9.850" in text


def test_moments_are_shown_in_the_readers_zone(rf: RequestFactory, owner: Any) -> None:
    customer = site.customer()
    request = rf.get("/")
    request.user = owner
    from django.contrib import admin

    page = admin.site.get_model_admin(TokenAccount)
    with timezone.override("Pacific/Auckland"):
        response: Any = page.change_view(request, str(customer.account.pk))
        response.render()
        local = timezone.localtime(TokenAllocation.objects.get().booked_at)
        assert f"{local:%H:%M:%S}" in response.content.decode()
        assert "Times in Pacific/Auckland" in response.content.decode()


def test_breadcrumbs_are_those_of_the_running_django(owners_client: Client) -> None:
    import django

    text = text_of(owners_client, site.customer().account)
    crumbs = re.findall(r'<(ol|div) class="breadcrumbs">', text)
    assert crumbs == (["ol"] if django.VERSION >= (6, 1) else ["div"])
    assert reverse("admin:app_list", args=["django_token_pricing"]) in text


def test_the_page_shows_what_is_left_of_each_limit(owners_client: Client) -> None:
    customer = site.customer()
    rules.set_limit(scope="default", limit=200, window="week", mode="soft", reason="All", actor=None)
    page = owners_client.get(site.page(customer.account))
    limits = {row.name: row for row in page.context["limits"]}
    own, general = limits["Tokens, per day"], limits["Tokens, per week"]
    assert (own.used, own.held, own.left, own.limit) == ("100", "50", "999,850", "1,000,000")
    assert (own.origin, own.word) == ("Override for this user", "")
    assert (general.left, general.origin, general.at_limit, general.word) == (
        "50",
        "Everybody",
        "Allow and record",
        "",
    )
    assert f"limitrule/add/?account={customer.account.pk}" in page.content.decode()
    tokens.consume(customer.user, 30, key="more")
    again = owners_client.get(site.page(customer.account)).context["limits"]
    assert [row.word for row in again] == ["", "Nearly reached"]


def test_limits_are_for_those_who_may_view_them(as_: Callable[[Any], Client]) -> None:
    customer = site.customer()
    text = as_(site.staff("view_tokenaccount")).get(site.page(customer.account)).content.decode()
    assert "Limits are hidden." in text
    seen = as_(site.staff("view_tokenaccount", "view_limitrule")).get(site.page(customer.account)).content.decode()
    assert "999,850" in seen
    assert "Add an override" not in seen
