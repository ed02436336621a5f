"""A share of a limit is used: told once a window, for the limit that counts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from django_token_pricing import notifications, tokens
from django_token_pricing.lib import windows
from django_token_pricing.models import LimitCounter, LimitRule
from django_token_pricing.tokens.limits.rules import set_limit
from tests import world
from tests.notifications import rules
from tests.notifications.rules import titles
from tests.tokens.clock import Clock

pytestmark = pytest.mark.django_db


def scan(clock: Clock) -> int:
    return notifications.warn(as_of=clock.now).warnings


def limit(most: int, scope: str = "default", **more: Any) -> LimitRule:
    return set_limit(scope=scope, limit=most, reason="Test", actor=None, **more)


def counted(user: Any, amount: int, at: datetime, period: str = "day", **more: Any) -> LimitCounter:
    """The counter as enforcement leaves it."""
    tokens.grant(user, 1, source="plan")
    starts_at, ends_at = windows.bounds(period, at, timezone.get_default_timezone())
    values = {"tokens": amount, "requests": 3, "starts_at": starts_at, "ends_at": ends_at, **more}
    return LimitCounter.objects.update_or_create(account=rules.account(user), period=period, defaults=values)[0]


def test_a_share_and_the_whole_fire_separately_and_once_a_window(clock: Clock, user: Any) -> None:
    rules.reached(80)
    rules.reached(100)
    limit(1_000)
    counted(user, 799, clock.now)
    assert scan(clock) == 0
    counted(user, 800, clock.now)
    assert (scan(clock), scan(clock)) == (1, 0)
    counted(user, 1_000, clock.now)
    assert (scan(clock), scan(clock)) == (1, 0)
    assert titles(user) == ["80% of a limit is used", "You have reached a limit"]
    assert notifications.words(rules.rows()[0]).text.startswith("800 of 1,000 tokens are used. It counts anew from")
    clock.on(days=1)
    assert scan(clock) == 0
    counted(user, 900, clock.now)
    assert scan(clock) == 1


def test_requests_are_counted_in_requests(clock: Clock, user: Any) -> None:
    rules.reached(100)
    limit(3, metric="requests")
    counted(user, 1_000_000, clock.now)
    assert scan(clock) == 1
    assert "3 of 3 requests are used." in notifications.words(rules.rows()[0]).text


def test_the_limit_that_counts_for_the_account_is_the_one_that_warns(clock: Clock, user: Any) -> None:
    rules.reached(100)
    limit(100)
    own = limit(1_000, "user", user=user)
    other = world.new_user()
    counted(user, 500, clock.now)
    counted(other, 500, clock.now)
    assert scan(clock) == 1
    assert (titles(user), len(titles(other))) == ([], 1)
    counted(user, 1_000, clock.now)
    assert (scan(clock), scan(clock)) == (1, 0)
    assert rules.rows()[-1].facts["limit"] == own.limit


def test_a_tier_has_a_limit_of_its_own(clock: Clock, user: Any) -> None:
    rules.reached(100)
    limit(100)
    limit(50, "tier", tier="free")
    other = world.new_user()
    for one in (user, other):
        counted(one, 60, clock.now)
    type(rules.account(user)).objects.filter(user=user).update(tier="free")
    assert scan(clock) == 1
    assert len(titles(user)) == 1


def test_a_limit_that_was_reached_in_a_short_window_is_told_afterwards(clock: Clock, user: Any) -> None:
    rules.reached(100)
    minute = limit(10, window="minute")
    counted(user, 10, clock.now, "minute", reached=minute, reached_at=clock.now)
    clock.on(minutes=5)
    assert (scan(clock), scan(clock)) == (1, 0)


def test_a_window_that_is_over_is_no_news(clock: Clock, user: Any) -> None:
    rules.reached(50)
    limit(10, window="minute")
    counted(user, 10, clock.now, "minute")
    clock.on(minutes=5)
    assert scan(clock) == 0


def test_a_rolling_window_tells_once_in_its_length(clock: Clock, user: Any) -> None:
    rules.reached(80)
    limit(10, window="hour", alignment="rolling")
    assert [scan(counted_on(clock, user, minutes)) for minutes in (0, 5, 30, 61)] == [1, 0, 0, 1]


def counted_on(clock: Clock, user: Any, minutes: int) -> Clock:
    clock.on(minutes=minutes)
    counted(user, 9, clock.now, "hour~")
    return clock


def test_a_limit_in_total_tells_once(clock: Clock, user: Any) -> None:
    rules.reached(100)
    limit(10, window="total")
    counted(user, 10, clock.now, "total")
    assert scan(clock) == 1
    clock.at(clock.now + timedelta(days=400))
    assert scan(clock) == 0


def test_retired_waiting_and_cached_limits_warn_of_nothing(clock: Clock, user: Any) -> None:
    rules.reached(100)
    limit(10, starts_at=clock.now + timedelta(days=1))
    limit(10, window="hour", counting="cache")
    for period in ("day", "hour"):
        counted(user, 10, clock.now, period)
    assert scan(clock) == 0


def test_operators_hear_of_a_pools_limit(clock: Clock) -> None:
    operator = rules.operator()
    rules.reached(100, tells_admins=True)
    pool = world.new_pool()
    limit(10, "pool", pool=pool)
    tokens.grant(pool, 1, source="plan")
    starts_at, ends_at = windows.bounds("day", clock.now, timezone.get_default_timezone())
    LimitCounter.objects.create(account=pool.account, period="day", tokens=10, starts_at=starts_at, ends_at=ends_at)
    assert scan(clock) == 1
    assert titles(operator) == [f"{pool.name} comes to a limit"]
