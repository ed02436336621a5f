"""One account's analytics: its days, week, models, costs and months, in a constant number of queries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from datetime import timezone as utc
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_token_pricing import analytics, tokens
from django_token_pricing.analytics import patterns
from django_token_pricing.models import ModelPrice, TokenAccount
from tests import world
from tests.admin import site
from tests.analytics.rows import month

pytestmark = pytest.mark.django_db

As = Callable[[Any], Client]
MAY = ("view_tokenaccount", "view_analytics", "view_tokenusagelog")


@pytest.fixture
def user(db: None) -> Any:
    one = world.new_user()
    tokens.grant(one, 1_000_000, source="plan")
    return one


def record(user: Any, amount: int, at: datetime, **facts: Any) -> None:
    tokens.record_many([tokens.Use(user, amount, used_at=at, **facts)])


def account_of(user: Any) -> TokenAccount:
    return TokenAccount.objects.get(user=user)


def url(user: Any) -> str:
    return reverse("admin:django_token_pricing_tokenaccount_analytics", args=[account_of(user).pk])


def pattern(user: Any, *, as_of: datetime | None = None) -> analytics.Pattern:
    return analytics.pattern(account_of(user), as_of=as_of or timezone.now(), with_costs=True)


# The pattern


def test_uses_stand_at_their_weekday_and_hour_in_the_reporting_zone(user: Any, settings: Any) -> None:
    settings.TOKEN_PRICING = {"REPORTING_ZONE": "Asia/Kolkata"}
    at = datetime(2026, 11, 9, 20, 15, tzinfo=utc.utc)  # Tuesday, 01:45 there
    record(user, 70, at)
    found = pattern(user, as_of=at + timedelta(days=3))
    assert found.grid[1][1] == 70
    assert found.days == {datetime(2026, 11, 10).date(): 70}  # noqa: DTZ001
    assert (found.tokens, found.active_days) == (70, 1)


def test_ninety_days_are_looked_at(user: Any) -> None:
    now = timezone.now()
    record(user, 5, now - timedelta(days=88))
    record(user, 7, now - timedelta(days=91))
    assert pattern(user).tokens == 5


def test_costs_are_those_the_host_gave_or_of_the_price_when_used(user: Any) -> None:
    now = timezone.now()
    for days, price in ((400, "2"), (10, "4")):
        ModelPrice.objects.create(
            model="gpt-4o", starts_at=now - timedelta(days=days), input=Decimal(price), output=Decimal(10)
        )
    record(user, 10, now - timedelta(days=20), model="gpt-4o", input_tokens=1_000_000, output_tokens=0)
    record(user, 10, now - timedelta(days=5), model="gpt-4o", input_tokens=1_000_000, output_tokens=100_000)
    record(user, 10, now - timedelta(days=5), model="gpt-4o", cost=Decimal("0.5"))
    record(user, 10, now - timedelta(days=5), model="gpt-4o")
    record(user, 10, now - timedelta(days=5), model="unknown", input_tokens=5)
    found = {part.name: part for part in pattern(user).models}
    assert (found["gpt-4o"].cost, found["gpt-4o"].unpriced, found["gpt-4o"].requests) == (Decimal("7.5"), 1, 4)
    assert (found["unknown"].cost, found["unknown"].unpriced) == (0, 1)


def test_costs_equal_those_of_the_roll_ups(user: Any) -> None:
    from tests.analytics.rolled import roll_up

    now = timezone.now()
    given = {"starts_at": now - timedelta(days=400), "input": Decimal("2.5"), "output": Decimal(10)}
    ModelPrice.objects.create(model="gpt-4o", cached_read=Decimal("1.25"), reasoning=Decimal(12), **given)
    ModelPrice.objects.create(model="gpt-4o", provider="azure", cached_write=Decimal(3), **given)
    for place in range(20):
        counts = {"input_tokens": 1_000 + place, "output_tokens": 70, "cached_tokens": place, "reasoning_tokens": 3}
        provider = "azure" if place % 3 else "openai"
        record(user, 10, now - timedelta(days=place % 5), model="gpt-4o", provider=provider, **counts)
    roll_up()
    period = analytics.Period.of_days(30, last=analytics.today())
    (part,) = pattern(user).models
    assert part.cost == analytics.margin(period).whole.cost


def test_of_a_pool_the_draws_of_its_members_count_each_use_once(user: Any) -> None:
    member = world.new_user()
    pool = world.new_pool(member)
    for _ in range(2):
        tokens.grant(pool, 100, source="plan")
    tokens.consume(member, 150, key="use", model="gpt-4o", feature="chat", cost=Decimal("0.3"))
    found = analytics.pattern(TokenAccount.objects.get(pool=pool), as_of=timezone.now(), with_costs=True)
    (part,) = found.models
    assert (part.name, part.requests, part.tokens, part.cost) == ("gpt-4o", 1, 150, Decimal("0.3"))


def test_of_an_account_with_very_many_uses_the_latest_whole_days_are_summed(
    user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "MOST_USES", 5)
    now = datetime(2026, 11, 20, 12, tzinfo=utc.utc)
    for days in range(4):
        for hour in range(2):
            record(user, 10, now - timedelta(days=days, hours=hour))
    found = pattern(user, as_of=now)
    assert (found.since, found.is_short, found.is_cut) == (datetime(2026, 11, 19).date(), True, False)  # noqa: DTZ001
    assert found.tokens == 40


def test_of_a_day_with_too_many_uses_the_last_are_summed(user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "MOST_USES", 3)
    now = datetime(2026, 11, 20, 12, tzinfo=utc.utc)
    for minutes in range(6):
        record(user, 10, now - timedelta(minutes=minutes))
    found = pattern(user, as_of=now)
    assert (found.is_cut, found.tokens) == (True, 30)


# The page


@pytest.mark.parametrize("may", [("view_tokenaccount",), ("view_analytics",), ()])
def test_the_page_needs_both_permissions(as_: As, user: Any, may: tuple[str, ...]) -> None:
    assert as_(site.staff(*may)).get(url(user)).status_code == 403


def test_the_page_tells_pattern_models_and_what_is_left(as_: As, user: Any) -> None:
    record(user, 70, timezone.now() - timedelta(hours=1), model="gpt-4o", feature="chat")
    found = as_(site.staff(*MAY)).get(url(user)).content.decode()
    for words in ("Analytics of", "gpt-4o", "chat", "1 of 90 days with use", "Busiest:", "Available", "Lasts until"):
        assert words in found
    assert "Cost and margin" not in found
    assert "USD" not in found


def test_costs_are_there_for_who_may_see_them(as_: As, user: Any) -> None:
    record(user, 70, timezone.now(), model="gpt-4o", cost=Decimal("0.75"))
    month(account_of(user), analytics.today().replace(day=1), cost="0.75", revenue="2")
    found = as_(site.staff(*MAY, "view_costs")).get(url(user)).content.decode()
    for words in ("Cost and margin", "USD 0.75", "USD 2.00", "USD 1.25"):
        assert words in found


def test_the_account_page_leads_there(as_: As, user: Any) -> None:
    account = account_of(user)
    assert url(user) in as_(site.staff(*MAY)).get(site.page(account)).content.decode()
    assert url(user) not in as_(site.staff("view_tokenaccount")).get(site.page(account)).content.decode()


def test_an_account_without_use_says_so(as_: As, user: Any) -> None:
    assert "No use in the last 90 days." in as_(site.staff(*MAY)).get(url(user)).content.decode()


def test_an_account_that_there_is_not_leads_back(as_: As) -> None:
    address = reverse("admin:django_token_pricing_tokenaccount_analytics", args=[987_654])
    assert as_(site.staff(*MAY)).get(address).status_code == 302


def test_nothing_can_be_posted(as_: As, user: Any) -> None:
    assert as_(site.staff(*MAY)).post(url(user)).status_code == 405


def test_many_uses_take_as_many_queries_as_one(as_: As, user: Any) -> None:
    client = as_(site.staff(*MAY, "view_costs"))

    def queries() -> int:
        with CaptureQueriesContext(connection) as found:
            assert client.get(url(user)).status_code == 200
        return len(found)

    record(user, 10, timezone.now(), model="m")
    few = queries()
    now = timezone.now()
    for place in range(30):
        record(user, 10, now - timedelta(days=place), model=f"m{place}", feature=f"f{place}", input_tokens=5)
    assert queries() == few
