"""Utilisation: who wastes, who runs dry, and what nine of ten accounts of a tier would be content with."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from datetime import timezone as utc
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_token_pricing import tokens
from django_token_pricing.analytics import advice, utilisation
from django_token_pricing.models import AccountSummary, TierAdvice, TokenAccount, TokenAllocation
from django_token_pricing.tokens.shares import used_shares
from tests import world
from tests.analytics.rows import account, month

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 20, 12, tzinfo=utc.utc)
WHOLE = [date(2026, 8, 1), date(2026, 9, 1), date(2026, 10, 1)]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOW)


def summary(one: TokenAccount, *, available: int, used: int = 0, granted: int = 0, **given: Any) -> AccountSummary:
    fields = {"state": "ok", "tier": one.tier, "share_left": 50, **given}
    return AccountSummary.objects.create(account=one, available=available, used=used, granted=granted, **fields)


def old(tier: str = "team") -> TokenAccount:
    """There for a year."""
    one = account(tier)
    TokenAccount.objects.filter(pk=one.pk).update(created_at=NOW - timedelta(days=365))
    return one


# How much was used


@pytest.mark.parametrize(
    ("available", "used", "granted", "share"),
    [
        (1_000, 0, 1_000, "tenth"),
        (901, 99, 1_000, "tenth"),
        (900, 100, 1_000, "half"),
        (501, 499, 1_000, "half"),
        (500, 500, 1_000, "most"),
        (100, 900, 1_000, "all"),
        (1, 999, 1_000, "all"),
        (0, 1_000, 1_000, "dry"),
        (0, 100, 1_000, "half"),  # the rest expired
        (9_000, 500, 0, "tenth"),  # a lot of last year
        (0, 800, 0, "dry"),
        (0, 0, 0, "nothing"),
    ],
)
def test_an_account_counts_by_what_it_used_of_what_it_had(available: int, used: int, granted: int, share: str) -> None:
    summary(old(), available=available, used=used, granted=granted)
    assert used_shares("default") == {"team": {share: 1}}


def test_accounts_are_counted_by_tier_without_pools_and_members() -> None:
    summary(old("team"), available=5, used=95)
    summary(old("free"), available=95, used=5)
    member = old("team")
    pool = world.new_pool(member.user)
    summary(member, available=0, used=50)
    summary(TokenAccount.objects.create(pool=pool), available=10, used=90)
    assert used_shares("default") == {"team": {"all": 1}, "free": {"tenth": 1}}


# Who uses little


def test_those_with_much_who_use_less_than_a_tenth_are_named() -> None:
    little, much = old(), old()
    for one, amount in ((little, 60), (much, 600)):
        summary(one, available=2_000)
        for first in WHOLE:
            month(one, first, tokens=amount)
    (found,) = utilisation.idle_accounts()
    assert (found.account, found.available, found.a_month, found.tier) == (little.pk, 2_000, 60, "team")
    assert found.lasts == pytest.approx(33.3, abs=0.1)


def test_who_began_this_month_is_not_called_idle() -> None:
    new = account()
    TokenAccount.objects.filter(pk=new.pk).update(created_at=NOW - timedelta(days=10))
    summary(new, available=2_000)
    assert utilisation.idle_accounts() == []


def test_only_months_since_the_account_was_opened_count() -> None:
    one = account()
    TokenAccount.objects.filter(pk=one.pk).update(created_at=datetime(2026, 9, 15, tzinfo=utc.utc))
    summary(one, available=100_000)
    month(one, date(2026, 10, 1), tokens=30)
    assert [found.a_month for found in utilisation.idle_accounts()] == [30]


def test_usage_from_before_the_account_was_opened_here_counts_as_well() -> None:
    one = account()
    summary(one, available=100_000)
    month(one, date(2026, 9, 1), tokens=90)
    assert [found.a_month for found in utilisation.idle_accounts()] == [45]


def test_who_uses_much_this_month_is_not_called_idle() -> None:
    summary(old(), available=1_000, used=500)
    assert utilisation.idle_accounts() == []


def test_the_lists_can_be_of_one_tier() -> None:
    for tier in ("team", "free"):
        summary(old(tier), available=1_000)
    assert [one.tier for one in utilisation.idle_accounts(tiers=["free"])] == ["free"]


# Who runs dry


def test_who_has_run_dry_in_two_weeks_at_the_present_pace_is_named_the_first_first() -> None:
    later, soon, never, still = old(), old(), old(), old()
    summary(later, available=100, used=200)  # 10 a day
    summary(soon, available=10, used=200)
    summary(never, available=100_000, used=200)
    summary(still, available=10)
    assert [(one.account, one.pace) for one in utilisation.running_dry()] == [(soon.pk, 10), (later.pk, 10)]
    assert utilisation.running_dry()[0].dry_at == NOW + timedelta(days=1)


def test_the_month_before_counts_for_the_pace() -> None:
    one = old()
    summary(one, available=10, used=20)
    month(one, date(2026, 10, 1), tokens=490)
    (found,) = utilisation.running_dry()
    assert found.pace == 10


def test_the_lists_take_as_many_queries_for_many_accounts() -> None:
    def ask() -> int:
        with CaptureQueriesContext(connection) as queries:
            utilisation.idle_accounts()
            utilisation.running_dry()
        return len(queries)

    summary(old(), available=10, used=20)
    few = ask()
    for _ in range(20):
        summary(old(), available=10, used=20)
    assert ask() == few == 7


# What to allocate


def active(tier: str, *peaks: int) -> list[TokenAccount]:
    found = [old(tier) for _ in peaks]
    for one, peak in zip(found, peaks, strict=True):
        month(one, WHOLE[1], tokens=peak)
        month(one, WHOLE[2], tokens=peak // 2 + 1)
    return found


def test_nine_of_ten_accounts_would_be_content_with_what_is_suggested() -> None:
    active("team", *range(1_000, 21_000, 1_000))
    old("team")
    assert advice.advise().tiers == 1
    found = TierAdvice.objects.get()
    assert (found.tier, found.accounts, found.active, found.first_month, found.months) == ("team", 21, 20, WHOLE[0], 3)
    assert (found.median, found.most_use, found.suggested, found.short) == (10_000, 18_000, 18_000, 2)


def test_each_tier_has_its_own_advice_and_a_new_one_takes_its_place() -> None:
    active("team", *([700] * 10))
    active("free", *([12_340] * 10))
    advice.advise()
    advice.advise()
    assert dict(TierAdvice.objects.values_list("tier", "suggested")) == {"team": 700, "free": 13_000}


def test_a_tier_that_is_gone_has_no_advice_any_more() -> None:
    accounts = active("team", 1, 2)
    advice.advise()
    TokenAccount.objects.filter(pk__in=[one.pk for one in accounts]).update(tier="pro")
    advice.advise()
    assert [one.tier for one in TierAdvice.objects.all()] == ["pro"]


def test_too_few_active_accounts_make_no_suggestion() -> None:
    active("team", 1, 2, 3)
    advice.advise()
    found = TierAdvice.objects.get()
    assert (found.active, found.median, found.suggested) == (3, 2, None)


def test_pools_and_their_members_are_left_out() -> None:
    member, *_rest = active("team", *([700] * 11))
    world.new_pool(member.user)
    advice.advise()
    assert TierAdvice.objects.get().accounts == 10


def test_it_says_what_was_allocated_in_a_month_and_to_how_many() -> None:
    for one in active("team", *([700] * 10)):
        lot = {"account": one, "amount": 900, "remaining": 900, "starts_at": NOW, "source": "plan"}
        for days in (3, 20, 40):
            TokenAllocation.objects.create(**lot, booked_at=NOW - timedelta(days=days))
        TokenAllocation.objects.create(**{**lot, "source": "purchase"}, booked_at=NOW - timedelta(days=4))
    advice.advise()
    found = TierAdvice.objects.get()
    assert (found.given, found.granted) == (10, Decimal(18_000))


@pytest.mark.parametrize(("exact", "told"), [(7, 7), (99, 99), (101, 110), (12_000, 12_000), (12_001, 13_000)])
def test_a_suggestion_has_two_digits(exact: int, told: int) -> None:
    assert advice.rounded_up(exact) == told


def test_a_refresh_keeps_how_much_was_used() -> None:
    user = world.new_user()
    assert utilisation.used_shares() is None
    tokens.grant(user, 100, source="manual")
    tokens.refresh_summaries()
    found = utilisation.used_shares()
    assert found is not None
    assert found.tiers == {"": {"tenth": 1}}
