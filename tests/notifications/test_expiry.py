"""Tokens that expire soon or have expired: one warning for all of an account's that end on one day."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_token_pricing import notifications, tokens
from django_token_pricing.models import Notification, WarningState
from tests import world
from tests.notifications import rules
from tests.notifications.rules import titles
from tests.tokens.clock import Clock

pytestmark = pytest.mark.django_db


def scan(clock: Clock) -> int:
    return notifications.warn(as_of=clock.now).warnings


def grant(user: Any, amount: int, day: int, **more: Any) -> tokens.Grant:
    """A lot that ends with this day of May 2031."""
    return tokens.grant(user, amount, source="plan", expires_at=date(2031, 5, day), **more)


def test_all_that_end_on_a_day_are_one_warning(clock: Clock, user: Any) -> None:
    rules.expiring(7)
    grant(user, 100, 20)
    grant(user, 50, 20)
    grant(user, 30, 21)
    grant(user, 10, 23)
    assert (scan(clock), scan(clock)) == (2, 0)
    assert titles(user) == ["150 tokens expire soon", "30 tokens expire soon"]
    said = notifications.words(rules.rows()[0])
    assert said.text == "They can be used until the end of 20 May 2031."
    clock.on(days=1)
    assert scan(clock) == 1
    assert titles(user)[2:] == ["10 tokens expire soon"]


def test_a_lot_that_comes_later_for_a_day_that_was_told_fires_nothing(clock: Clock, user: Any) -> None:
    rules.expiring(7)
    grant(user, 100, 20)
    assert scan(clock) == 1
    clock.on(hours=1)
    grant(user, 5, 20)
    grant(user, 5, 18)
    assert (scan(clock), scan(clock)) == (1, 0)
    assert titles(user)[1:] == ["5 tokens expire soon"]


def test_the_end_within_a_day_is_said_to_the_minute(clock: Clock, user: Any) -> None:
    rules.expiring(1)
    tokens.grant(user, 1, source="plan", expires_at=datetime(2031, 5, 15, 18, 30, tzinfo=timezone.utc))
    assert scan(clock) == 1
    said = notifications.words(rules.rows()[0])
    assert said.text == "The first of them can be used until 15 May 2031, 20:30 CEST."


def test_what_is_used_does_not_count_and_few_may_be_too_few(clock: Clock, user: Any) -> None:
    rules.expiring(7, tokens=50)
    other = world.new_user()
    grant(user, 100, 20)
    grant(other, 49, 20)
    rules.use(user, 50)
    assert scan(clock) == 1
    assert (titles(user), titles(other)) == (["50 tokens expire soon"], [])
    rules.use(user, 50)
    grant(other, 1, 20)
    assert scan(clock) == 1
    assert titles(other) == ["50 tokens expire soon"]


def test_different_rules_tell_a_week_and_a_day_before(clock: Clock, user: Any) -> None:
    rules.expiring(7)
    rules.expiring(1)
    grant(user, 100, 20)
    assert scan(clock) == 1
    clock.on(days=4)
    assert scan(clock) == 1


def test_what_has_expired_is_told_when_the_day_is_over(clock: Clock, user: Any) -> None:
    rules.expired()
    grant(user, 100, 15)
    tokens.grant(user, 7, source="plan", expires_at=clock.now + timedelta(hours=1))
    rules.use(user, 3)
    clock.on(hours=2)
    tokens.expire(as_of=clock.now)
    assert scan(clock) == 0
    clock.on(hours=9)
    tokens.expire(as_of=clock.now)
    assert (scan(clock), scan(clock)) == (1, 0)
    assert titles(user) == ["104 tokens have expired unused"]
    assert notifications.words(rules.rows()[0]).text == "They could be used until 15 May 2031."


def test_lots_that_were_used_up_have_not_expired(clock: Clock, user: Any) -> None:
    rules.expired()
    grant(user, 100, 15)
    rules.use(user, 100)
    clock.on(days=1)
    tokens.expire(as_of=clock.now)
    assert scan(clock) == 0


def test_what_expired_long_ago_is_no_news(clock: Clock, user: Any) -> None:
    rules.expired()
    grant(user, 100, 15)
    clock.on(days=10)
    tokens.expire(as_of=clock.now)
    assert scan(clock) == 0


def test_states_of_days_that_are_over_are_forgotten(clock: Clock, user: Any) -> None:
    rules.expiring(7)
    rules.expired()
    grant(user, 100, 20)
    assert scan(clock) == 1
    for _day in range(14):
        clock.on(days=1)
        tokens.expire(as_of=clock.now)
        scan(clock)
    assert Notification.objects.count() == 2
    assert not WarningState.objects.exists()


def test_operators_hear_of_pools(clock: Clock) -> None:
    operator = rules.operator()
    rules.expiring(7, tells_admins=True, tier="")
    pool = world.new_pool()
    grant(pool, 40, 20)
    assert scan(clock) == 1
    assert titles(operator) == [f"Tokens of {pool.name} expire soon"]
    text = "40 tokens, 20 May 2031. The warning: 7 days before tokens expire."
    assert notifications.words(rules.rows()[0]).text == text


def test_a_pool_is_no_candidate_where_only_users_are_told(clock: Clock) -> None:
    rules.expiring(7)
    grant(world.new_pool(), 40, 20)
    assert scan(clock) == 0


def test_queries_grow_by_batch_and_not_by_account(clock: Clock) -> None:
    rules.expiring(7)
    counts = []
    for number, day in ((10, 20), (400, 21)):
        users = world.new_users(number)
        rows = [tokens.GrantRow(user, 5, expires_at=date(2031, 5, day)) for user in users]
        tokens.grant_many(rows, source="plan")
        clock.on(minutes=1)
        with CaptureQueriesContext(connection) as queries:
            assert scan(clock) == number
        statements = [query["sql"] for query in queries]
        counts.append(len(statements) - sum(sql.startswith(("INSERT", "UPDATE")) for sql in statements))
    assert counts[0] == counts[1]
    assert counts[0] < 35
