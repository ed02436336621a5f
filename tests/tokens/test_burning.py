"""Which lots pay for a use, and in which order."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from django_token_pricing import tokens
from tests.tokens.clock import Clock
from tests.world import new_pool

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def lot(owner: Any, amount: int = 10, **terms: Any) -> int:
    return tokens.grant(owner, amount, source="manual", **terms).allocation


def paid(owner: Any, amount: int, key: str = "k") -> list[tuple[int, int]]:
    return [tuple(share) for share in tokens.consume(owner, amount, key=key).lots]  # type: ignore[misc]


def test_the_smaller_priority_pays_first(user: Any) -> None:
    later, first, last = lot(user, priority=5), lot(user, priority=-7), lot(user)
    assert paid(user, 30) == [(first, 10), (later, 10), (last, 10)]


def test_of_one_priority_the_soonest_expiry_pays_first_and_no_expiry_last(user: Any, clock: Clock) -> None:
    never, late, soon = lot(user), lot(user, expires_at=clock.now + 9 * DAY), lot(user, expires_at=clock.now + DAY)
    assert paid(user, 25) == [(soon, 10), (late, 10), (never, 5)]


def test_of_one_expiry_the_oldest_pays_first(user: Any, clock: Clock) -> None:
    end = clock.now + DAY
    lots = [lot(user, expires_at=end), lot(user, expires_at=end), lot(user, expires_at=end)]
    assert paid(user, 30) == [(number, 10) for number in lots]


def test_priority_goes_before_expiry(user: Any, clock: Clock) -> None:
    soon, never = lot(user, expires_at=clock.now + DAY), lot(user, priority=1)
    assert paid(user, 11) == [(never, 10), (soon, 1)]


def test_a_lot_that_has_not_started_never_pays(user: Any, clock: Clock) -> None:
    waiting = lot(user, priority=1, starts_at=clock.now + DAY)
    with pytest.raises(tokens.InsufficientTokens):
        tokens.consume(user, 1, key="k")
    now = lot(user)
    assert paid(user, 10) == [(now, 10)]
    with pytest.raises(tokens.InsufficientTokens):
        tokens.hold(user, 1, key="h")
    clock.at(clock.now + DAY)
    assert paid(user, 10, "l") == [(waiting, 10)]


def test_a_lot_pays_until_its_very_end_and_then_never(user: Any, clock: Clock) -> None:
    end = clock.now + DAY
    expiring = lot(user, expires_at=end)
    clock.at(end - timedelta(microseconds=1))
    assert paid(user, 3) == [(expiring, 3)]
    clock.at(end)
    for call in (
        lambda: tokens.consume(user, 1, key="l"),
        lambda: tokens.hold(user, 1, key="l"),
        lambda: tokens.subtract(user, 1, reason="r", actor=None),
    ):
        with pytest.raises(tokens.InsufficientTokens) as refusal:
            call()
        assert refusal.value.available == 0


def test_a_lot_that_started_in_the_past_pays_from_its_grant_on(user: Any, clock: Clock) -> None:
    lot(user, starts_at=clock.now - 30 * DAY)
    assert tokens.consume(user, 4, key="k").balance_after == 6
    assert tokens.balance(user, as_of=clock.now - DAY).available == 0


def test_what_other_holds_reserve_pays_for_nobody_else(user: Any) -> None:
    first, second = lot(user), lot(user)
    tokens.hold(user, 7, key="h")
    assert paid(user, 5) == [(first, 3), (second, 2)]
    with pytest.raises(tokens.InsufficientTokens) as refusal:
        tokens.consume(user, 9, key="l")
    assert refusal.value.facts == {"requested": 9, "available": 8, "spendable": 8}


def test_there_is_no_overdraft(user: Any) -> None:
    lot(user)
    with pytest.raises(tokens.InsufficientTokens):
        tokens.consume(user, 11, key="k")
    assert tokens.balance(user).available == 10


def test_own_lots_pay_before_the_pools_whatever_their_priority(user: Any, clock: Clock) -> None:
    pool = new_pool(user)
    shared, own = lot(pool, priority=-100, expires_at=clock.now + DAY), lot(user, priority=100)
    assert paid(user, 12) == [(own, 10), (shared, 2)]


def test_the_pools_lots_pay_in_burn_order_too(user: Any, clock: Clock) -> None:
    pool = new_pool(user)
    lots = [lot(pool), lot(pool, expires_at=clock.now + DAY), lot(pool, priority=1)]
    assert paid(user, 30) == [(lots[2], 10), (lots[1], 10), (lots[0], 10)]


def test_balance_after_is_what_the_owner_has_left_without_the_pool(user: Any) -> None:
    pool = new_pool(user)
    lot(user), lot(pool)
    assert tokens.consume(user, 3, key="a").balance_after == 7
    assert tokens.hold(user, 2, key="b").balance_after == 5
    assert tokens.consume(user, 9, key="c").balance_after == 0
    assert tokens.consume(user, 2, key="d").balance_after == 0
    assert tokens.consume(pool, 1, key="e").balance_after == 3


def test_a_lot_is_emptied_over_many_uses(user: Any) -> None:
    one, two = lot(user), lot(user)
    shares: dict[int, int] = {one: 0, two: 0}
    for turn in range(6):
        for number, amount in tokens.consume(user, 3, key=f"k{turn}").lots:
            shares[number] += amount
    assert shares == {one: 10, two: 8}


def test_an_answer_is_complete(user: Any, clock: Clock) -> None:
    number = lot(user)
    answer = tokens.consume(user, 4, key="k")
    assert (answer.amount, answer.balance_after, answer.lots, answer.replayed) == (4, 6, [(number, 4)], False)
    assert answer.lots[0].allocation == number
    assert isinstance(answer.booked_at, datetime)
    assert answer.booked_at.tzinfo is not None
    with pytest.raises(AttributeError):
        answer.amount = 5  # type: ignore[misc]
