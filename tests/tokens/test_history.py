"""Balances now and at past moments, the statement, and the sweep that changes neither."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_token_pricing import tokens
from django_token_pricing.models import TokenAllocation
from tests.tokens.clock import Clock
from tests.world import join, new_pool, new_user, new_users

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


def give(owner: Any, amount: int = 100, **terms: Any) -> int:
    return tokens.grant(owner, amount, source="manual", **terms).allocation


# Now


def test_who_has_no_account_has_nothing(user: Any) -> None:
    assert tokens.balance(user) == tokens.Balance(available=0, held=0, total=0, spendable=0, next_expiry=None)


def test_available_held_total_and_spendable(user: Any, clock: Clock) -> None:
    pool = new_pool(user, cap=30)
    give(user), give(user, 50, starts_at=clock.now + DAY), give(user, 7, expires_at=clock.now + DAY), give(pool, 500)
    tokens.hold(user, 40, key="k")
    balance = tokens.balance(user)
    assert (balance.available, balance.held, balance.total, balance.spendable) == (67, 40, 157, 97)
    assert balance.next_expiry == clock.now + DAY
    balance = tokens.balance(pool)
    assert (balance.available, balance.held, balance.total, balance.spendable) == (500, 0, 500, 500)


def test_the_next_expiry_is_that_of_a_lot_that_has_tokens(user: Any, clock: Clock) -> None:
    give(user, 5, expires_at=clock.now + DAY), give(user, 5, expires_at=clock.now + 2 * DAY)
    give(user, 5, starts_at=clock.now + timedelta(hours=1), expires_at=clock.now + timedelta(hours=2))
    assert tokens.balance(user).next_expiry == clock.now + DAY
    tokens.consume(user, 5, key="k")
    assert tokens.balance(user).next_expiry == clock.now + 2 * DAY


def test_what_was_granted_a_tick_ahead_of_the_clock_is_available_at_once(user: Any, clock: Clock) -> None:
    """Moments of an account rise though the clock stands still or goes back, as clocks do."""
    give(user), give(user)
    assert give(user)
    assert tokens.balance(user).available == 300
    clock.at(clock.now - timedelta(seconds=1))
    give(user)
    assert tokens.balance(user).available == 400
    assert tokens.consume(user, 400, key="k").balance_after == 0
    assert tokens.balance(user).available == 0


def test_many_balances_are_answered_with_three_queries() -> None:
    users = new_users(100)
    pool = new_pool(*users[:50], cap=10)
    give(pool)
    for user in users[::2]:
        give(user, 5)
        tokens.hold(user, 1, key=str(user.pk))
    with CaptureQueriesContext(connection) as one:
        tokens.balances(users[:1])
    with CaptureQueriesContext(connection) as many:
        found = tokens.balances([*users, pool])
    assert len(one) <= 4  # the first asks for the clock, too
    assert len(many) <= 4
    assert {(found[user].available, found[user].spendable) for user in users[:50:2]} == {(4, 14)}
    assert {(found[user].available, found[user].spendable) for user in users[51::2]} == {(0, 0)}
    assert found[pool].available == 100


@pytest.mark.parametrize("number", [1, 30])
def test_many_past_balances_take_a_constant_number_of_queries(clock: Clock, number: int) -> None:
    users = new_users(number)
    pool = new_pool(*users, cap=10)
    give(pool, 1000)
    for user in users:
        tokens.consume(user, 5, key=str(user.pk))
    clock.on(seconds=1)
    with CaptureQueriesContext(connection) as queries:
        found = tokens.balances(users, as_of=clock.now)
    assert {balance.spendable for balance in found.values()} == {5}
    assert len(queries) <= 5


# The past


def test_a_past_balance_is_what_was_seen_then(user: Any, clock: Clock) -> None:
    """Every deed there is, and at each moment the answer that was given at that moment."""
    other, pool = new_user(), new_pool(user, cap=60)
    seen: list[tuple[datetime, Any, tokens.Balance]] = []

    def look() -> None:
        clock.on(hours=7)
        seen.extend((clock.now, owner, tokens.balance(owner)) for owner in (user, other, pool))
        clock.on(seconds=1)

    def carry_over(number: int, **terms: Any) -> None:
        tokens.rollover(TokenAllocation.objects.get(pk=number), **terms)

    start = clock.now
    first = give(user, expires_at=start + 3 * DAY)
    look()
    give(pool, expires_at=start + 9 * DAY), give(user, 30, starts_at=start + DAY), give(other, 5)
    look()
    tokens.consume(user, 20, key="a")
    look()
    tokens.hold(user, 40, key="h", ttl=DAY)
    tokens.hold(user, 20, key="void", ttl=timedelta(hours=10))
    look()
    carry_over(first, expires_at=start + 20 * DAY)
    look()
    tokens.settle("h", 35)
    look()
    tokens.hold(user, 50, key="r", ttl=DAY)
    look()
    tokens.release("r")
    look()
    tokens.consume(user, tokens.balance(user).available + 40, key="b")
    look()
    tokens.expire(as_of=clock.now)
    look()
    tokens.refund("a", 7, key="p", reason="r")
    tokens.refund("b", reason="r")
    look()
    tokens.set_balance(user, 77, reason="r", actor=None)
    tokens.subtract(other, 2, reason="r", actor=None)
    for _ in range(40):
        look()
    tokens.expire(as_of=clock.now)
    look()
    for moment, owner, balance in seen:
        assert tokens.balance(owner, as_of=moment) == balance
    for moment in {moment for moment, _, _ in seen}:
        expected = {owner: balance for when, owner, balance in seen if when == moment}
        assert tokens.balances([user, other, pool], as_of=moment) == expected


def test_a_past_balance_holds_to_the_microsecond(user: Any, clock: Clock) -> None:
    end = clock.now + DAY
    granted = tokens.grant(user, 100, source="manual", expires_at=end).booked_at
    clock.on(hours=1)
    consumed = tokens.consume(user, 30, key="k").booked_at
    clock.on(hours=1)
    hold = tokens.hold(user, 20, key="h", ttl=3600)
    clock.at(end + DAY)
    tokens.expire(as_of=clock.now)

    def at(moment: datetime) -> tuple[int, int]:
        balance = tokens.balance(user, as_of=moment)
        return balance.available, balance.held

    assert at(granted - TICK) == (0, 0)
    assert at(granted) == (100, 0)
    assert at(consumed - TICK) == (100, 0)
    assert at(consumed) == (70, 0)
    assert at(hold.booked_at - TICK) == (70, 0)
    assert at(hold.booked_at) == (50, 20)
    assert at(hold.expires_at - TICK) == (50, 20)
    assert at(hold.expires_at) == (70, 0)
    assert at(end - TICK) == (70, 0)
    assert at(end) == (0, 0)


def test_the_balance_as_of_now_is_the_live_balance(user: Any, clock: Clock) -> None:
    pool = new_pool(user, cap=30)
    give(user), give(pool), give(user, 10, starts_at=clock.now + DAY)
    clock.on(seconds=1)
    tokens.consume(user, 120, key="k")
    tokens.hold(user, 3, key="h")
    clock.on(seconds=1)
    assert tokens.balances([user, pool], as_of=clock.now) == tokens.balances([user, pool])


def test_what_a_pool_would_have_given_follows_todays_membership(user: Any, clock: Clock) -> None:
    """Memberships have no history yet: `spendable` alone looks at who is where now."""
    pool = new_pool(user, cap=30)
    give(pool), give(user, 5)
    clock.on(days=1)
    then, seen = clock.now, tokens.balance(user)
    clock.on(days=1)
    join(new_pool(), user)
    later = tokens.balance(user, as_of=then)
    assert (later.available, later.held, later.total) == (seen.available, seen.held, seen.total)
    assert (seen.spendable, later.spendable) == (35, 5)


def test_a_day_ahead_can_be_asked_for(user: Any, clock: Clock) -> None:
    give(user, expires_at=clock.now + DAY), give(user, 7, starts_at=clock.now + DAY)
    clock.on(seconds=1)
    assert tokens.balance(user, as_of=clock.now + 2 * DAY).available == 7


# The sweep


def test_the_sweep_books_what_has_lapsed_and_changes_no_balance(user: Any, clock: Clock) -> None:
    pool = new_pool(user)
    give(user, expires_at=clock.now + DAY), give(user, 9), give(pool, 50, expires_at=clock.now + DAY)
    clock.on(days=2)
    before = tokens.balances([user, pool])
    swept = tokens.expire(as_of=clock.now)
    assert (swept.lots, swept.tokens) == (2, 150)
    assert tokens.balances([user, pool]) == before
    assert tokens.expire(as_of=clock.now).lots == 0


def test_the_sweep_takes_what_had_lapsed_at_its_moment(user: Any, clock: Clock) -> None:
    give(user, 1, expires_at=clock.now + DAY), give(user, 2, expires_at=clock.now + 2 * DAY)
    start = clock.now
    clock.on(days=5)
    assert tokens.expire(as_of=start + DAY - TICK).tokens == 0
    assert tokens.expire(as_of=start + DAY).tokens == 1
    assert tokens.expire(as_of=start + 2 * DAY).tokens == 2


def test_a_sweep_for_the_future_takes_what_has_lapsed_by_now(user: Any, clock: Clock) -> None:
    give(user, 5, expires_at=clock.now + DAY)
    tokens.hold(user, 3, key="h", ttl=60)
    swept = tokens.expire(as_of=clock.now + 5 * DAY)
    assert (swept.lots, swept.tokens, swept.holds) == (0, 0, 0)
    assert tokens.balance(user).total == 5


def test_the_sweep_goes_through_many_batches(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    from django_token_pricing.tokens import expiry

    monkeypatch.setattr(expiry, "BATCH", 3)
    for number, user in enumerate(new_users(7)):
        give(user, 10, expires_at=clock.now + DAY), give(user, 10, expires_at=clock.now + 2 * DAY)
        tokens.hold(user, 1 + number, key=f"h{number}", ttl=7 * DAY if number % 2 else 60)
    clock.on(days=3)
    swept = tokens.expire(as_of=clock.now)
    assert (swept.lots, swept.tokens, swept.holds) == (14, 140 - 2 - 4 - 6, 4)
    clock.on(days=7)
    assert tokens.expire(as_of=clock.now).tokens == 2 + 4 + 6


# The statement


def test_a_statement_has_the_entries_of_a_half_open_period_with_a_running_balance(user: Any, clock: Clock) -> None:
    start = clock.now
    give(user, 60), give(user, 40, expires_at=start + DAY)
    tokens.consume(user, 50, key="a")
    clock.on(days=2)
    middle = clock.now
    tokens.refund("a", reason="r")
    tokens.expire(as_of=clock.now)
    tokens.hold(user, 5, key="h")
    rows = list(tokens.statement(user, since=start, until=clock.now + DAY))
    balance = 0
    for row in rows:
        balance += row.amount
        assert row.balance_after == balance
    assert balance == tokens.balance(user).total
    assert [row.kind for row in rows] == ["grant", "grant", "consume", "consume", "refund", "refund", "expire"]
    assert list(tokens.statement(user, until=middle)) + list(tokens.statement(user, since=middle)) == rows
    assert list(tokens.statement(user, since=rows[2].booked_at, until=rows[2].booked_at)) == []
    assert list(tokens.statement(user, since=rows[2].booked_at, until=rows[2].booked_at + TICK)) == rows[2:4]


def test_a_statement_is_one_query(user: Any) -> None:
    give(user)
    for number in range(30):
        tokens.consume(user, 1, key=str(number))
    with CaptureQueriesContext(connection) as queries:
        assert len(list(tokens.statement(user, since=None, until=None))) == 31
    assert len(queries) == 1


def test_replaying_a_statement_gives_the_balance_at_any_moment(user: Any, clock: Clock) -> None:
    """With lots that never expire and without holds, the running balance is the balance."""
    chance = random.Random(7)
    give(user, 1000)
    for number in range(40):
        clock.on(seconds=chance.randint(0, 3))
        amount = chance.randint(1, 20)
        match chance.randint(0, 2):
            case 0:
                give(user, amount)
            case 1:
                tokens.consume(user, amount, key=str(number))
            case 2:
                tokens.subtract(user, amount, reason="r", actor=None)
    rows = list(tokens.statement(user, since=None, until=None))
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        if following is None or following.booked_at != row.booked_at:
            assert tokens.balance(user, as_of=row.booked_at).available == row.balance_after
