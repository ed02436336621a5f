"""What members draw from a pool, and the cap on it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from django_token_pricing import tokens
from django_token_pricing.models import LedgerEntry, PoolDraw, TokenUsageLog
from tests.tokens.clock import Clock
from tests.world import join, leave, new_pool, new_user

pytestmark = pytest.mark.django_db

BERLIN = ZoneInfo("Europe/Berlin")
NEXT_MONTH = datetime(2031, 6, 1, tzinfo=BERLIN)


def give(owner: Any, amount: int = 100, **terms: Any) -> int:
    return tokens.grant(owner, amount, source="manual", **terms).allocation


def drawn() -> dict[str, int]:
    return {f"{month:%Y-%m}": amount for month, amount in PoolDraw.objects.values_list("month", "drawn")}


def test_a_member_draws_from_the_pool_what_own_lots_lack(user: Any) -> None:
    pool = new_pool(user)
    own, shared = give(user, 10), give(pool)
    answer = tokens.consume(user, 25, key="k")
    assert answer.lots == [(own, 10), (shared, 15)]
    use = TokenUsageLog.objects.get()
    assert (use.account.user, use.pool.pool) == (user, pool)  # type: ignore[union-attr]
    entry = LedgerEntry.objects.get(allocation=shared, kind="consume")
    assert (entry.amount, entry.member, entry.balance_after) == (-15, use.account, 85)


def test_a_use_that_the_user_paid_alone_names_no_pool(user: Any) -> None:
    pool = new_pool(user)
    give(user, 10), give(pool)
    tokens.consume(user, 10, key="k")
    assert TokenUsageLog.objects.get().pool is None
    assert not PoolDraw.objects.exists()


def test_a_member_without_any_own_tokens_draws_all_from_the_pool(user: Any) -> None:
    shared = give(new_pool(user))
    assert tokens.consume(user, 25, key="k").lots == [(shared, 25)]


def test_who_is_no_member_draws_nothing(user: Any) -> None:
    give(new_pool(new_user()))
    with pytest.raises(tokens.InsufficientTokens):
        tokens.consume(user, 1, key="k")
    assert tokens.balance(user).spendable == 0


def test_who_left_draws_nothing_any_more(user: Any) -> None:
    give(new_pool(user))
    tokens.consume(user, 1, key="a")
    leave(user)
    with pytest.raises(tokens.InsufficientTokens):
        tokens.consume(user, 1, key="b")


def test_a_pool_that_is_not_active_gives_nothing(user: Any) -> None:
    pool = new_pool(user)
    give(pool)
    pool.is_active = False
    pool.save()
    with pytest.raises(tokens.InsufficientTokens) as refusal:
        tokens.consume(user, 1, key="k")
    assert refusal.value.spendable == tokens.balance(user).spendable == 0


def test_a_pool_without_an_account_gives_nothing(user: Any) -> None:
    new_pool(user)
    give(user, 5)
    with pytest.raises(tokens.InsufficientTokens) as refusal:
        tokens.consume(user, 6, key="k")
    assert refusal.value.facts == {"requested": 6, "available": 5, "spendable": 5}


def test_a_pool_consumes_from_its_own_lots_and_without_a_cap(user: Any) -> None:
    pool = new_pool(user, cap=1)
    give(pool)
    assert tokens.consume(pool, 60, key="k").balance_after == 40
    assert not PoolDraw.objects.exists()


def test_what_own_and_pool_lots_lack_together_is_refused_whole(user: Any) -> None:
    pool = new_pool(user)
    give(user, 10), give(pool, 20)
    with pytest.raises(tokens.InsufficientTokens) as refusal:
        tokens.consume(user, 31, key="k")
    assert refusal.value.facts == {"requested": 31, "available": 10, "spendable": 30}
    assert not isinstance(refusal.value, tokens.LimitExceeded)
    assert tokens.consume(user, 30, key="k").balance_after == 0


def test_a_cap_refuses_what_goes_beyond_and_names_itself(user: Any) -> None:
    pool = new_pool(user, cap=50)
    give(user, 10), give(pool)
    tokens.consume(user, 40, key="a")
    with pytest.raises(tokens.LimitExceeded) as refusal:
        tokens.consume(user, 21, key="b")
    assert isinstance(refusal.value, tokens.InsufficientTokens)
    assert refusal.value.code == "pool_cap_reached"
    facts = dict(refusal.value.facts)
    # Until the month ends.
    assert 0 < facts.pop("retry_after") <= 31 * 86_400 + 3_600
    assert facts == {
        "requested": 21,
        "available": 0,
        "spendable": 20,
        "limit": 50,
        "used": 30,
        "rule": None,
        "metric": "tokens",
        "window": "month",
    }
    assert tokens.consume(user, 20, key="b").amount == 20


def test_where_the_pool_too_is_short_the_cap_is_not_blamed(user: Any) -> None:
    pool = new_pool(user, cap=50)
    give(pool, 60)
    with pytest.raises(tokens.InsufficientTokens) as refusal:
        tokens.consume(user, 61, key="k")
    assert not isinstance(refusal.value, tokens.LimitExceeded)
    assert refusal.value.spendable == 50


def test_a_cap_of_zero_gives_nothing(user: Any) -> None:
    pool = new_pool(user, cap=0)
    give(user, 5), give(pool)
    assert tokens.balance(user).spendable == 5
    with pytest.raises(tokens.PoolCapReached) as refusal:
        tokens.consume(user, 6, key="k")
    assert refusal.value.spendable == 5


def test_each_member_has_a_cap_of_their_own(user: Any) -> None:
    pool, other = new_pool(user, cap=50), new_user()
    join(pool, other, cap=None)
    give(pool)
    tokens.consume(user, 50, key="a")
    assert tokens.consume(other, 50, key="b").amount == 50


def test_a_cap_starts_anew_with_the_month_of_the_sites_zone(user: Any, clock: Clock) -> None:
    pool = new_pool(user, cap=50)
    give(pool, 1000)
    clock.at(NEXT_MONTH - timedelta(microseconds=2))
    tokens.consume(user, 50, key="a")
    with pytest.raises(tokens.PoolCapReached):
        tokens.consume(user, 1, key="b")
    assert tokens.balance(user).spendable == 0
    clock.at(NEXT_MONTH)
    assert tokens.balance(user).spendable == 50
    tokens.consume(user, 50, key="b")
    assert drawn() == {"2031-05": 50, "2031-06": 50}


def test_a_cap_counts_own_draws_of_the_pool_that_the_user_is_in(user: Any) -> None:
    first, second = new_pool(user, cap=50), new_pool()
    give(first), give(second)
    tokens.consume(user, 50, key="a")
    join(second, user, cap=50)
    assert tokens.consume(user, 50, key="b").amount == 50
    join(first, user, cap=60)
    assert tokens.balance(user).spendable == 10


def test_a_lowered_cap_counts_at_once(user: Any) -> None:
    pool = new_pool(user, cap=50)
    give(pool)
    tokens.consume(user, 40, key="a")
    join(pool, user, cap=30)
    assert tokens.balance(user).spendable == 0
    with pytest.raises(tokens.PoolCapReached) as refusal:
        tokens.consume(user, 1, key="b")
    assert (refusal.value.used, refusal.value.spendable) == (40, 0)


def test_a_refund_gives_the_cap_back_in_the_month_of_the_use(user: Any, clock: Clock) -> None:
    pool = new_pool(user, cap=50)
    give(pool, 1000)
    tokens.consume(user, 50, key="a")
    tokens.refund("a", 20, key="r", reason="r")
    assert tokens.balance(user).spendable == 20
    assert drawn() == {"2031-05": 30}
    clock.at(NEXT_MONTH)
    tokens.consume(user, 50, key="b")
    tokens.refund("a", reason="r")
    assert tokens.balance(user).spendable == 0
    assert drawn() == {"2031-05": 0, "2031-06": 50}


def test_a_hold_over_the_end_of_a_month_counts_in_the_month_of_its_settlement(user: Any, clock: Clock) -> None:
    pool = new_pool(user, cap=50)
    give(pool, 1000)
    clock.at(NEXT_MONTH - timedelta(minutes=1))
    tokens.consume(user, 30, key="a")
    tokens.hold(user, 20, key="h")
    clock.at(NEXT_MONTH)
    with pytest.raises(tokens.PoolCapReached) as refusal:
        tokens.consume(user, 31, key="b")
    assert refusal.value.used == 20
    tokens.settle("h", 20)
    assert drawn() == {"2031-05": 30, "2031-06": 20}
    assert tokens.balance(user).spendable == 30


def test_a_refund_is_taken_by_the_pool_of_a_user_who_has_left(user: Any, clock: Clock) -> None:
    pool = new_pool(user, cap=50)
    give(user, 10), give(pool)
    tokens.consume(user, 30, key="k")
    leave(user)
    assert tokens.refund("k", 25, key="r", reason="r").balance_after == 5
    assert (tokens.balance(pool).available, tokens.balance(user).available) == (100, 5)
    assert drawn() == {"2031-05": 0}


def test_spendable_is_what_can_be_consumed_and_not_one_more(user: Any, clock: Clock) -> None:
    other = new_user()
    pool = new_pool(user, other, cap=50)
    give(user, 7), give(pool, 70)
    for key, deed in enumerate((0, 3, 20, 20)):
        tokens.consume(other, deed, key=f"o{key}")
        spendable = tokens.balance(user).spendable
        with pytest.raises(tokens.InsufficientTokens) as refusal:
            tokens.consume(user, spendable + 1, key="never")
        assert refusal.value.spendable == spendable
        with tokens.hold(user, spendable, key=f"h{key}"):
            assert tokens.balance(user).spendable == 0


def test_a_member_can_draw_the_largest_amount(user: Any) -> None:
    most = 2**63 - 1
    pool = new_pool(user, cap=most)
    give(pool, most)
    assert tokens.balance(user).spendable == most
    assert tokens.consume(user, most, key="k").amount == most
    assert tokens.refund("k", reason="r").amount == most


def test_the_own_lots_and_the_pools_may_hold_the_largest_amount_each(user: Any) -> None:
    most = 2**63 - 1
    pool = new_pool(user)
    give(pool, most), give(user, most)
    assert tokens.balance(user).spendable == 2 * most
    tokens.consume(user, most - 1, key="a")
    assert [share.amount for share in tokens.consume(user, most, key="b").lots] == [1, most - 1]
