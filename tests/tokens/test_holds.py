"""Tokens that are reserved before the cost is known."""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any

import pytest

from django_token_pricing import tokens
from django_token_pricing.models import TokenHold, TokenUsageLog
from tests.tokens.clock import Clock
from tests.world import join, leave, new_pool

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def give(owner: Any, amount: int = 100, **terms: Any) -> int:
    return tokens.grant(owner, amount, source="manual", **terms).allocation


def has(owner: Any) -> tuple[int, int]:
    balance = tokens.balance(owner)
    return balance.available, balance.held


def test_a_hold_takes_effect_when_it_is_called(user: Any) -> None:
    give(user)
    hold = tokens.hold(user, 30, key="k")
    assert has(user) == (70, 30)
    assert (hold.amount, hold.balance_after, hold.key) == (30, 70, "k")


def test_a_hold_lasts_as_long_as_the_settings_say(user: Any, clock: Clock, settings: Any) -> None:
    settings.TOKEN_PRICING = {**settings.TOKEN_PRICING, "HOLD_TIMEOUT": timedelta(seconds=40)}
    give(user)
    assert tokens.hold(user, 30, key="k").expires_at - clock.now < timedelta(seconds=41)
    assert tokens.hold(user, 30, key="l", ttl=5).expires_at - clock.now < timedelta(seconds=6)
    assert tokens.hold(user, 30, key="m", ttl=timedelta(days=3)).expires_at - clock.now > 2 * DAY


def test_a_hold_of_more_than_there_is_is_refused_and_reserves_nothing(user: Any) -> None:
    give(user)
    with pytest.raises(tokens.InsufficientTokens):
        tokens.hold(user, 101, key="k")
    assert has(user) == (100, 0)


def test_holds_count_in_full_against_each_other(user: Any) -> None:
    give(user)
    tokens.hold(user, 60, key="a")
    with pytest.raises(tokens.InsufficientTokens) as refusal:
        tokens.hold(user, 41, key="b")
    assert refusal.value.facts == {"requested": 41, "available": 40, "spendable": 40}


def test_a_hold_is_void_at_its_ttl_without_any_sweep(user: Any, clock: Clock) -> None:
    give(user)
    ends = tokens.hold(user, 100, key="k", ttl=60).expires_at
    clock.at(ends - timedelta(microseconds=2))
    with pytest.raises(tokens.InsufficientTokens):
        tokens.consume(user, 1, key="a")
    assert has(user) == (0, 100)
    clock.at(ends)
    assert has(user) == (100, 0)
    assert tokens.consume(user, 100, key="a").balance_after == 0


@pytest.mark.django_db(transaction=True)
def test_a_hold_is_void_on_the_real_clock_too() -> None:
    import time

    from tests.world import new_user

    user = new_user()
    give(user)
    tokens.hold(user, 100, key="k", ttl=0.2)
    with pytest.raises(tokens.InsufficientTokens):
        tokens.consume(user, 1, key="a")
    time.sleep(0.25)
    assert tokens.consume(user, 1, key="a").balance_after == 99


# Settling


def test_settling_less_than_held_releases_the_rest(user: Any) -> None:
    lot = give(user)
    tokens.hold(user, 30, key="k")
    answer = tokens.settle("k", 10)
    assert (answer.amount, answer.balance_after, answer.lots) == (10, 90, [(lot, 10)])
    assert has(user) == (90, 0)


def test_settling_what_was_held_draws_it(user: Any) -> None:
    give(user)
    tokens.hold(user, 100, key="k")
    assert tokens.settle("k", 100).balance_after == 0
    assert has(user) == (0, 0)


def test_settling_more_than_held_consumes_the_excess_too(user: Any) -> None:
    first, second = give(user, 50), give(user, 50)
    tokens.hold(user, 30, key="k")
    answer = tokens.settle("k", 70)
    assert (answer.balance_after, answer.lots) == (30, [(first, 50), (second, 20)])


def test_where_the_excess_is_lacking_nothing_is_booked_and_the_hold_stays(user: Any) -> None:
    give(user)
    tokens.hold(user, 30, key="k")
    tokens.hold(user, 40, key="other")
    with pytest.raises(tokens.InsufficientTokens) as refusal:
        tokens.settle("k", 61)
    assert refusal.value.requested == 61
    assert refusal.value.spendable == 60
    assert has(user) == (30, 70)
    assert not TokenUsageLog.objects.exists()
    assert tokens.settle("k", 60).balance_after == 0


def test_settling_up_to_the_held_amount_never_fails_though_all_else_is_gone(user: Any) -> None:
    give(user)
    tokens.hold(user, 30, key="k")
    tokens.consume(user, 70, key="a")
    assert tokens.settle("k", 30).balance_after == 0


@pytest.mark.parametrize("swept", [False, True])
def test_within_the_ttl_a_hold_is_settled_though_its_lot_has_expired(user: Any, clock: Clock, swept: bool) -> None:
    lot = give(user, 50, expires_at=clock.now + timedelta(minutes=5))
    other = give(user, 50)
    tokens.hold(user, 60, key="k", ttl=600)
    clock.on(minutes=6)
    if swept:
        tokens.expire(as_of=clock.now)
    assert has(user) == (40, 60)
    answer = tokens.settle("k", 60)
    assert (answer.balance_after, answer.lots) == (40, [(lot, 50), (other, 10)])
    assert tokens.expire(as_of=clock.on(seconds=1)).tokens == 0


def test_the_excess_over_a_hold_is_not_drawn_from_a_lot_that_has_expired(user: Any, clock: Clock) -> None:
    give(user, 50, expires_at=clock.now + timedelta(minutes=5))
    tokens.hold(user, 10, key="k", ttl=600)
    clock.on(minutes=6)
    with pytest.raises(tokens.InsufficientTokens) as refusal:
        tokens.settle("k", 11)
    assert refusal.value.spendable == 10
    assert tokens.settle("k", 10).amount == 10


@pytest.mark.parametrize("swept", [False, True])
def test_after_its_ttl_settling_is_a_plain_consume(user: Any, clock: Clock, swept: bool) -> None:
    held_lot, better = give(user, 50), give(user, 50, priority=1, starts_at=clock.now + timedelta(seconds=30))
    tokens.hold(user, 40, key="k", ttl=60, model="m")
    clock.on(seconds=61)
    if swept:
        assert tokens.expire(as_of=clock.now).holds == 1
    answer = tokens.settle("k", 60)
    assert (answer.balance_after, answer.lots) == (40, [(better, 50), (held_lot, 10)])
    assert TokenUsageLog.objects.get().model == "m"
    assert tokens.settle("k", 60).replayed


@pytest.mark.parametrize("swept", [False, True])
def test_after_its_ttl_settling_fails_where_tokens_are_lacking(user: Any, clock: Clock, swept: bool) -> None:
    give(user)
    tokens.hold(user, 60, key="k", ttl=60)
    clock.on(seconds=61)
    if swept:
        tokens.expire(as_of=clock.now)
    tokens.consume(user, 50, key="a")
    with pytest.raises(tokens.InsufficientTokens) as refusal:
        tokens.settle("k", 60)
    assert refusal.value.facts == {"requested": 60, "available": 50, "spendable": 50}
    assert tokens.settle("k", 50).balance_after == 0


def test_a_hold_is_settled_by_key_from_elsewhere(user: Any) -> None:
    give(user)
    tokens.hold(user, 30, key="k")
    assert tokens.settle("k", 20, feature="chat").amount == 20
    use = TokenUsageLog.objects.get()
    assert (use.key, use.feature) == ("k", "chat")


def test_a_released_hold_is_not_settled(user: Any) -> None:
    give(user)
    tokens.hold(user, 30, key="k")
    tokens.release("k")
    with pytest.raises(tokens.HoldExpired) as error:
        tokens.settle("k", 20)
    assert error.value.code == "hold_expired"
    assert has(user) == (100, 0)


# Releasing


def test_releasing_gives_all_back(user: Any) -> None:
    give(user)
    tokens.hold(user, 30, key="k")
    answer = tokens.release("k")
    assert (answer.amount, answer.balance_after) == (30, 100)
    assert has(user) == (100, 0)


def test_releasing_twice_changes_nothing(user: Any) -> None:
    give(user)
    tokens.hold(user, 30, key="k")
    tokens.release("k")
    assert tokens.release("k").replayed
    assert has(user) == (100, 0)


def test_a_settled_hold_is_not_released(user: Any) -> None:
    give(user)
    tokens.hold(user, 30, key="k")
    tokens.settle("k", 30)
    with pytest.raises(tokens.IdempotencyConflict):
        tokens.release("k")
    assert has(user) == (70, 0)


def test_what_is_released_of_an_expired_lot_is_gone(user: Any, clock: Clock) -> None:
    give(user, 50, expires_at=clock.now + timedelta(minutes=5))
    tokens.hold(user, 20, key="k", ttl=600)
    clock.on(minutes=6)
    assert tokens.expire(as_of=clock.now).tokens == 30
    assert tokens.release("k").balance_after == 0
    assert has(user) == (0, 0)
    assert tokens.expire(as_of=clock.on(seconds=1)).tokens == 20


# The context manager


def test_leaving_the_block_without_settling_releases(user: Any) -> None:
    give(user)
    with tokens.hold(user, 30, key="k"):
        assert has(user) == (70, 30)
    assert has(user) == (100, 0)


def test_an_error_in_the_block_releases_and_goes_on(user: Any) -> None:
    give(user)
    with pytest.raises(ZeroDivisionError), tokens.hold(user, 30, key="k"):
        1 / 0  # noqa: B018
    assert has(user) == (100, 0)


def test_settling_in_the_block_stands(user: Any) -> None:
    give(user)
    with tokens.hold(user, 30, key="k", model="m") as hold:
        assert hold.settle(20, output_tokens=7).amount == 20
    assert has(user) == (80, 0)
    use = TokenUsageLog.objects.get()
    assert (use.model, use.output_tokens) == ("m", 7)


def test_releasing_in_the_block_stands(user: Any) -> None:
    give(user)
    with tokens.hold(user, 30, key="k") as hold:
        assert hold.release().amount == 30
        with pytest.raises(tokens.HoldExpired):
            hold.settle(1)
    assert has(user) == (100, 0)


def test_a_refused_settlement_in_the_block_releases(user: Any) -> None:
    give(user)
    with pytest.raises(tokens.InsufficientTokens), tokens.hold(user, 30, key="k") as hold:
        hold.settle(101)
    assert has(user) == (100, 0)


def test_settling_by_key_within_the_block_stands_too(user: Any) -> None:
    """Another process, or a function that knows but the key, has settled before the block is left."""
    give(user)
    with tokens.hold(user, 30, key="k"):
        tokens.settle("k", 20)
    assert has(user) == (80, 0)


def test_a_hold_can_be_pickled_with_its_answer(user: Any) -> None:
    give(user)
    hold = tokens.hold(user, 30, key="k")
    assert pickle.loads(pickle.dumps(hold.result)) == hold.result  # noqa: S301 - our own
    with pytest.raises(AttributeError):
        hold.nonsense  # noqa: B018


# Holds on the pool


def test_a_hold_takes_own_tokens_first_and_the_rest_from_the_pool(user: Any) -> None:
    pool = new_pool(user)
    give(user, 30), give(pool, 100)
    tokens.hold(user, 50, key="k")
    assert (has(user), has(pool)) == ((0, 30), (80, 20))
    answer = tokens.settle("k", 40)
    assert [share.amount for share in answer.lots] == [30, 10]
    assert (has(user), has(pool)) == ((0, 0), (90, 0))


def test_own_lots_pay_first_for_what_is_settled_beyond_a_hold_on_the_pool(user: Any) -> None:
    pool = new_pool(user)
    first, shared = give(user, 10), give(pool, 100)
    tokens.hold(user, 15, key="k")
    second = give(user, 10)
    answer = tokens.settle("k", 27)
    assert answer.lots == [(first, 10), (second, 10), (shared, 7)]
    assert tokens.settle("k", 27) == answer
    assert tokens.refund("k", 8, key="r", reason="r").lots == [(second, 1), (shared, 7)]


def test_a_hold_on_the_pool_counts_against_the_cap_until_it_ends(user: Any, clock: Clock) -> None:
    pool = new_pool(user, cap=50)
    give(pool, 1000)
    tokens.hold(user, 40, key="k", ttl=60)
    with pytest.raises(tokens.PoolCapReached) as refusal:
        tokens.consume(user, 11, key="a")
    facts = {"requested": 11, "available": 0, "spendable": 10, "limit": 50, "used": 40}
    assert facts.items() <= refusal.value.facts.items()
    assert tokens.balance(user).spendable == 10
    tokens.settle("k", 5)
    assert tokens.balance(user).spendable == 45
    tokens.hold(user, 45, key="l", ttl=60)
    clock.on(seconds=61)
    assert tokens.balance(user).spendable == 45
    assert tokens.consume(user, 45, key="a").amount == 45


def test_the_excess_over_a_hold_on_the_pool_is_within_the_cap_or_refused(user: Any) -> None:
    pool = new_pool(user, cap=50)
    give(pool, 1000)
    tokens.hold(user, 40, key="k")
    with pytest.raises(tokens.PoolCapReached) as refusal:
        tokens.settle("k", 51)
    facts = {"requested": 51, "available": 0, "spendable": 50, "limit": 50, "used": 40}
    assert facts.items() <= refusal.value.facts.items()
    assert tokens.settle("k", 50).amount == 50


def test_within_the_ttl_a_hold_on_the_pool_is_settled_whatever_became_of_the_member(user: Any) -> None:
    pool = new_pool(user, cap=50)
    give(pool, 1000)
    for key in ("left", "closed", "capped"):
        tokens.hold(user, 10, key=key)
    join(pool, user, cap=1)
    assert tokens.settle("capped", 10).amount == 10
    pool.is_active = False
    pool.save()
    assert tokens.settle("closed", 10).amount == 10
    leave(user)
    with pytest.raises(tokens.InsufficientTokens):
        tokens.settle("left", 11)
    assert tokens.settle("left", 10).amount == 10
    assert has(pool) == (970, 0)


def test_after_its_ttl_a_hold_on_a_pool_is_settled_by_the_pool_that_the_user_is_in_now(user: Any, clock: Clock) -> None:
    """A plain consume, so the first pool has nothing to do with it any more."""
    first, second = new_pool(user), new_pool()
    give(first), give(second)
    tokens.hold(user, 30, key="k", ttl=60)
    join(second, user)
    clock.on(seconds=61)
    tokens.settle("k", 30)
    assert (has(first), has(second)) == ((100, 0), (70, 0))


def test_within_the_ttl_the_excess_over_a_hold_comes_from_no_other_pool(user: Any) -> None:
    """A use is paid by one pool at most; who has moved on settles up to the hold, or consumes anew."""
    first, second = new_pool(user), new_pool()
    give(first), give(second)
    tokens.hold(user, 30, key="k")
    join(second, user)
    with pytest.raises(tokens.InsufficientTokens):
        tokens.settle("k", 50)
    assert (has(first), has(second)) == ((70, 30), (100, 0))
    tokens.settle("k", 30)
    assert (has(first), has(second)) == ((70, 0), (100, 0))


def test_a_hold_on_the_pool_may_be_released_by_a_member_who_left(user: Any) -> None:
    pool = new_pool(user)
    give(pool)
    tokens.hold(user, 30, key="k")
    leave(user)
    tokens.release("k")
    assert has(pool) == (100, 0)


def test_a_sweep_closes_the_holds_that_are_void_and_no_others(user: Any, clock: Clock) -> None:
    give(user)
    tokens.hold(user, 1, key="void", ttl=60)
    tokens.hold(user, 2, key="open", ttl=600)
    clock.on(seconds=120)
    assert tokens.expire(as_of=clock.now).holds == 1
    assert dict(TokenHold.objects.values_list("key", "status")) == {"void": "expired", "open": "open"}
    assert tokens.expire(as_of=clock.now).holds == 0
    assert has(user) == (98, 2)
