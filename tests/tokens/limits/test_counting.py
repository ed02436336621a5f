"""What counts against a limit, in which window, and what comes back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from django_token_pricing import tokens
from django_token_pricing.models import LimitCounter, LimitOverage, LimitRule, TokenUsageLog
from django_token_pricing.tokens.limits import periods
from tests.tokens.clock import Clock, noon
from tests.tokens.limits.setting import give, limit, state, use
from tests.world import join, leave, new_pool, new_user, new_users

pytestmark = pytest.mark.django_db

BERLIN = ZoneInfo("Europe/Berlin")


def refused(owner: Any, amount: int = 1, **facts: Any) -> tokens.LimitExceeded:
    with pytest.raises(tokens.LimitExceeded) as refusal:
        use(owner, amount, **facts)
    return refusal.value


def counter(owner: Any, period: str = "day") -> tuple[int, int]:
    field = "account__pool" if hasattr(owner, "members") else "account__user"
    row = LimitCounter.objects.get(period=period, **{field: owner})
    return row.tokens, row.requests


# Windows


@pytest.mark.parametrize(
    ("window", "moments"),
    [
        ("minute", [(2031, 5, 15, 9, 59, 0), (2031, 5, 15, 9, 59, 59), (2031, 5, 15, 10, 0, 0)]),
        ("hour", [(2031, 5, 15, 9), (2031, 5, 15, 9, 59, 59), (2031, 5, 15, 10)]),
        ("day", [(2031, 3, 30, 0), (2031, 3, 30, 23, 59, 59), (2031, 3, 31, 0)]),
        ("day", [(2031, 10, 26, 0), (2031, 10, 26, 23, 59, 59), (2031, 10, 27, 0)]),
        ("week", [(2031, 5, 12, 0), (2031, 5, 18, 23, 59, 59), (2031, 5, 19, 0)]),
        ("month", [(2032, 2, 1, 0), (2032, 2, 29, 23, 59, 59), (2032, 3, 1, 0)]),
    ],
)
def test_a_window_of_the_calendar_counts_from_its_first_moment_to_its_last(
    user: Any, clock: Clock, window: str, moments: list[tuple[int, ...]]
) -> None:
    first, last, after = (datetime(*moment, tzinfo=BERLIN) for moment in moments)  # type: ignore[misc,arg-type]
    clock.at(first)
    give(user)
    limit(10, window)
    use(user, 6)
    clock.at(last)
    error = refused(user, 5)
    assert (error.used, error.limit, error.requested, error.retry_after) == (6, 10, 5, 1)
    use(user, 4)
    clock.at(after)
    use(user, 10)


def test_the_hour_that_comes_twice_counts_twice(user: Any, clock: Clock) -> None:
    clock.at(datetime(2031, 10, 26, 2, 30, tzinfo=BERLIN))
    give(user)
    limit(1, "hour")
    use(user)
    refused(user)
    clock.at(datetime(2031, 10, 26, 2, 30, tzinfo=BERLIN, fold=1))
    use(user)


def test_a_rule_has_its_own_zone(user: Any, clock: Clock) -> None:
    give(user)
    limit(10, time_zone="Pacific/Auckland")
    clock.at(datetime(2031, 5, 16, 23, 59, tzinfo=ZoneInfo("Pacific/Auckland")))
    use(user, 10)
    assert refused(user).retry_after == 60
    clock.on(minutes=1)
    use(user, 10)


def test_a_rolling_window_lets_go_of_each_use_as_it_grows_old(user: Any, clock: Clock) -> None:
    give(user)
    limit(10, "hour", alignment="rolling")
    use(user, 4)
    clock.on(minutes=30)
    use(user, 6)
    error = refused(user, 3)
    # The first use has to be older than an hour.
    assert (error.used, error.retry_after) == (10, 30 * 60 + 1)
    assert refused(user, 5).retry_after in (60 * 60, 60 * 60 + 1)
    clock.on(minutes=30)
    refused(user)
    clock.on(seconds=1)
    use(user, 4)
    clock.on(minutes=30)
    assert state(user, LimitRule.objects.get()).used == 4
    clock.on(days=3)
    use(user, 10)


def test_total_is_never_over(user: Any, clock: Clock) -> None:
    give(user)
    limit(10, "total")
    use(user, 6)
    clock.on(days=700)
    assert refused(user, 5).retry_after is None


def test_a_limit_of_one_request_looks_at_it_alone(user: Any) -> None:
    give(user)
    rule = limit(10, "request")
    use(user, 10), use(user, 10)
    error = refused(user, 11)
    assert error.facts == {
        "rule": rule.pk,
        "metric": "tokens",
        "window": "request",
        "limit": 10,
        "used": 0,
        "requested": 11,
        "retry_after": None,
    }


def test_a_request_that_never_fits_is_told_no_time(user: Any) -> None:
    give(user)
    limit(10, mode="throttle")
    error = refused(user, 11)
    assert (type(error), error.retry_after) == (tokens.LimitExceeded, None)


def test_of_several_limits_the_one_that_takes_longest_is_told(user: Any, clock: Clock) -> None:
    give(user)
    limit(5, "minute"), limit(5, "day"), limit(5, "hour", alignment="rolling")
    use(user, 5)
    assert refused(user).window == "day"


def test_a_use_of_nothing_is_a_request_and_passes_limits_of_tokens(user: Any) -> None:
    give(user)
    limit(0), limit(2, metric="requests")
    use(user, 0), use(user, 0)
    assert refused(user, 0).metric == "requests"


# used_at


@pytest.fixture
def past(clock: Clock) -> Clock:
    """A use cannot lie ahead of the real clock."""
    clock.at(noon(2021, 5, 15))
    return clock


def test_a_use_counts_in_the_window_of_its_moment_not_of_its_booking(user: Any, past: Clock) -> None:
    give(user)
    limit(10), limit(20, "month")
    yesterday = past.now - timedelta(days=1)
    use(user, 10)
    use(user, 8, used_at=yesterday)
    assert refused(user, 3, used_at=yesterday).used == 8
    assert refused(user, 3, used_at=yesterday).retry_after is None
    use(user, 2, used_at=yesterday)
    # The month has seen both days.
    assert (refused(user, used_at=yesterday - timedelta(days=1)).window, counter(user)) == ("month", (10, 1))
    refused(user)


def test_a_use_slightly_before_another_counts_in_its_rolling_window(user: Any, past: Clock) -> None:
    give(user)
    limit(10, "hour", alignment="rolling")
    use(user, 6)
    use(user, 3, used_at=past.now - timedelta(minutes=50))
    assert refused(user, 2, used_at=past.now - timedelta(minutes=1)).used == 9
    assert refused(user, 8, used_at=past.now - timedelta(minutes=70)).used == 3
    use(user, 1, used_at=past.now - timedelta(minutes=70))
    past.on(minutes=20)
    assert refused(user, 5).used == 6


# Modes


def test_a_soft_limit_lets_pass_and_records_what_is_beyond_by_window(user: Any, clock: Clock) -> None:
    give(user)
    rule = limit(10, mode="soft")
    use(user, 8), use(user, 5), use(user, 4)
    clock.on(days=1)
    use(user, 11)
    found = LimitOverage.objects.order_by("starts_at").values_list("rule", "amount", "uses")
    assert list(found) == [(rule.pk, 7, 2), (rule.pk, 1, 1)]


def test_grace_gives_some_more_once_a_window_and_then_refuses(user: Any, clock: Clock) -> None:
    give(user)
    limit(10, mode="grace", grace=5)
    use(user, 8), use(user, 4)
    error = refused(user, 4)
    assert (error.limit, error.used) == (10, 12)
    use(user, 3)
    assert LimitOverage.objects.get().amount == 5
    clock.on(days=1)
    use(user, 15)


def test_a_throttle_says_when_to_try_again(user: Any, clock: Clock) -> None:
    give(user)
    limit(2, "minute", metric="requests", mode="throttle")
    clock.on(seconds=15)
    use(user), use(user)
    error = refused(user)
    assert (type(error), error.code, error.retry_after) == (tokens.Throttled, "throttled", 45)
    clock.on(seconds=45)
    use(user)


def test_a_limit_is_told_before_a_balance(user: Any) -> None:
    limit(10)
    give(user, 5)
    refused(user, 11)
    with pytest.raises(tokens.InsufficientTokens):
        use(user, 10)
    assert not TokenUsageLog.objects.exists()


def test_a_refusal_leaves_the_transaction_of_the_host_as_it_was(user: Any) -> None:
    give(user)
    limit(10)
    with transaction.atomic():
        use(user, 6)
        refused(user, 5)
        use(user, 4)
    assert counter(user) == (10, 2)


# Repetitions, batches, records


def test_a_repeated_key_is_not_asked_again(user: Any) -> None:
    give(user)
    limit(10)
    first = use(user, 10, key="k")
    assert use(user, 10, key="k") == first
    refused(user, key="other")
    assert counter(user) == (10, 1)


def test_of_a_batch_none_is_booked_where_one_is_refused(user: Any) -> None:
    other = new_user()
    give(user), give(other)
    limit(10)
    with pytest.raises(tokens.LimitExceeded):
        tokens.consume_many([tokens.Use(other, 5), tokens.Use(user, 6), tokens.Use(user, 5)])
    tokens.consume_many([tokens.Use(other, 5), tokens.Use(user, 6), tokens.Use(user, 4)])
    assert (counter(user), counter(other)) == ((10, 2), (5, 1))


def test_what_is_only_recorded_counts_nowhere(user: Any) -> None:
    give(user)
    limit(10)
    tokens.record_many([tokens.Use(user, 500)])
    use(user, 10)


# Holds


def test_an_open_hold_counts_in_full_until_it_is_released_settled_or_over(user: Any, clock: Clock) -> None:
    give(user)
    limit(10), limit(3, metric="requests")
    hold = tokens.hold(user, 8, key="a", ttl=60)
    assert refused(user, 3).used == 8
    with pytest.raises(tokens.LimitExceeded):
        tokens.hold(user, 3, key="b")
    hold.release()
    tokens.hold(user, 10, key="c", ttl=60)
    refused(user)
    clock.on(seconds=61)
    tokens.hold(user, 10, key="d", ttl=60)
    tokens.settle("d", 2)
    use(user, 8)
    assert counter(user) == (10, 2)


def test_settling_up_to_what_is_held_is_never_refused_and_more_is(user: Any) -> None:
    give(user)
    rule = limit(10), limit(9, "request")
    tokens.hold(user, 8, key="a")
    limit(2, rule=rule[0])
    with pytest.raises(tokens.LimitExceeded) as refusal:
        tokens.settle("a", 9)
    assert (refusal.value.used, refusal.value.requested) == (0, 9)
    tokens.settle("a", 8)
    assert tokens.settle("a", 8).replayed
    assert (counter(user), LimitOverage.objects.get().amount) == ((8, 1), 6)


def test_settling_after_the_time_of_a_hold_is_asked_like_a_use(user: Any, clock: Clock) -> None:
    give(user)
    limit(10)
    tokens.hold(user, 8, key="a", ttl=60)
    clock.on(seconds=61)
    use(user, 5)
    with pytest.raises(tokens.LimitExceeded):
        tokens.settle("a", 6)
    tokens.settle("a", 5)


def test_a_hold_is_counted_where_it_is_settled_for(user: Any, past: Clock) -> None:
    give(user)
    limit(10)
    tokens.hold(user, 8, key="a", used_at=past.now - timedelta(days=1), model="m1")
    tokens.settle("a", 8)
    use(user, 10)
    assert TokenUsageLog.objects.filter(model="m1").get().used_at == past.now - timedelta(days=1)


def test_a_wait_covers_holds_that_outlast_the_window(user: Any, clock: Clock) -> None:
    give(user)
    limit(10, "minute")
    tokens.hold(user, 8, key="a", ttl=90)
    use(user, 2)
    assert refused(user, 2).retry_after == 60
    assert refused(user, 3).retry_after == 90


def test_holds_at_the_same_time_are_limited_by_number_and_by_tokens(user: Any, clock: Clock) -> None:
    give(user)
    limit(2, "concurrent", metric="requests"), limit(10, "concurrent")
    use(user, 100)
    first = tokens.hold(user, 4, key="a", ttl=60)
    with pytest.raises(tokens.LimitExceeded) as refusal:
        tokens.hold(user, 7, key="b", ttl=60)
    assert (refusal.value.used, refusal.value.retry_after) == (4, None)
    tokens.hold(user, 6, key="b", ttl=60)
    with pytest.raises(tokens.LimitExceeded):
        tokens.hold(user, 1, key="c")
    first.settle(4)
    tokens.hold(user, 1, key="c")


# Refunds


def test_a_refund_gives_back_and_a_whole_one_its_request_too(user: Any) -> None:
    give(user)
    limit(10), limit(2, metric="requests")
    use(user, 6, key="a"), use(user, 4, key="b")
    tokens.refund("a", 2, key="part", reason="sorry")
    assert counter(user) == (8, 2)
    assert refused(user).metric == "requests"
    tokens.refund("a", reason="sorry")
    assert counter(user) == (4, 1)
    use(user, 6)


def test_a_refund_of_an_earlier_window_leaves_the_present_one(user: Any, clock: Clock) -> None:
    give(user)
    limit(10), limit(15, "month")
    use(user, 10, key="a")
    clock.on(days=1)
    use(user, 5)
    refused(user)
    tokens.refund("a", 4, key="part", reason="sorry")
    assert (counter(user), counter(user, "month")) == ((5, 1), (11, 2))
    use(user, 4)


def test_reaching_a_limit_is_noted_once_and_taken_back_by_a_refund_or_a_new_window(user: Any, clock: Clock) -> None:
    give(user)
    rule = limit(10, mode="soft")
    use(user, 9, key="a")
    assert LimitCounter.objects.get().reached is None
    use(user, 1)
    before = clock.on(seconds=5)
    use(user, 1)
    row = LimitCounter.objects.get()
    assert row.reached == rule
    assert row.reached_at is not None
    assert row.reached_at < before
    tokens.refund("a", 5, key="part", reason="sorry")
    assert LimitCounter.objects.get().reached_at is None
    use(user, 5)
    assert LimitCounter.objects.get().reached == rule
    clock.on(days=1)
    use(user, 1)
    assert LimitCounter.objects.get().reached_at is None


# Rules that change


def test_a_rule_set_in_the_middle_of_a_window_counts_what_was_used_before(user: Any) -> None:
    give(user)
    use(user, 7)
    rule = limit(10)
    assert refused(user, 4).used == 7
    use(user, 3)
    limit(12, rule=rule)
    use(user, 2)
    limit(12, alignment="rolling", rule=rule)
    assert refused(user).used == 12
    tokens.retire_limit(rule, reason="over", actor=None)
    use(user, 100)
    limit(112)
    assert refused(user).used == 112


def test_an_override_counts_from_its_start_and_ends_by_itself(user: Any, clock: Clock) -> None:
    give(user)
    limit(10)
    limit(50, user=user, starts_at=clock.now + timedelta(hours=1), ends_at=clock.now + timedelta(hours=2))
    assert refused(user, 11).limit == 10
    clock.on(hours=1)
    use(user, 30)
    clock.on(hours=1)
    assert (refused(user).limit, refused(user).used) == (10, 30)


def test_what_was_used_for_another_model_counts_as_well(user: Any) -> None:
    give(user)
    limit(10, model="m1")
    use(user, 9, model="m2")
    assert refused(user, 2, model="m1").used == 9
    use(user, 50, model="m2")


# Pools


def test_a_limit_of_a_pool_counts_all_its_members_and_itself(user: Any) -> None:
    other, stranger = new_users(2)
    pool = new_pool(user, other)
    give(user), give(other), give(pool), give(stranger)
    use(user, 2)
    limit(10, pool=pool)
    use(other, 3), use(pool, 1), use(stranger, 50)
    error = refused(user, 5)
    assert (error.used, error.limit) == (6, 10)
    tokens.hold(other, 2, key="a")
    refused(user, 3), refused(pool, 3)
    use(user, 2)
    assert counter(pool) == (8, 4)
    tokens.settle("a", 1)
    assert (counter(pool), state(user, LimitRule.objects.get()).left) == ((9, 5), 1)


def test_who_joins_or_leaves_a_pool_counts_from_then_or_until_then(user: Any) -> None:
    pool, other = new_pool(user), new_user()
    give(user), give(other)
    limit(10, pool=pool)
    use(other, 8)
    tokens.add_members(pool, [other], reason="new", actor=None)
    use(other, 6), use(user, 4)
    refused(other), refused(user)
    leave(other)
    use(other, 50)
    refused(user)
    assert counter(pool) == (10, 2)


def test_a_refund_gives_back_to_the_pool_that_counted(user: Any) -> None:
    pool, next_pool = new_pool(user), new_pool()
    give(user), give(pool), give(next_pool)
    limit(10, pool=pool)
    use(user, 10, key="a")
    join(next_pool, user)
    tokens.refund("a", 4, key="part", reason="sorry")
    assert counter(pool) == (6, 1)
    use(pool, 4)


def test_a_rule_of_the_user_goes_before_that_of_the_pool_and_the_pool_still_counts(user: Any) -> None:
    pool, other = new_pool(user), new_user()
    join(pool, other)
    give(user), give(other)
    limit(10, pool=pool), limit(50, user=user)
    use(user, 20)
    assert refused(other).used == 20


def test_a_pool_that_is_not_active_limits_nobody(user: Any) -> None:
    pool = new_pool(user)
    give(user)
    limit(1, pool=pool)
    pool.is_active = False
    pool.save()
    use(user, 5)


def test_a_pool_that_loses_and_gets_limits_again_counts_what_came_between(user: Any) -> None:
    pool = new_pool(user)
    give(user)
    rule = limit(10, pool=pool)
    use(user, 3)
    tokens.retire_limit(rule, reason="over", actor=None)
    use(user, 4)
    limit(10, pool=pool)
    assert refused(user, 4).used == 7


def test_a_hold_on_one_pool_can_be_settled_where_another_one_counts(user: Any) -> None:
    pool, next_pool = new_pool(user), new_pool()
    give(pool)
    limit(10, pool=next_pool)
    tokens.hold(user, 8, key="a")
    join(next_pool, user)
    tokens.settle("a", 7)
    assert counter(next_pool) == (7, 1)


# The call


def test_the_windows_of_a_new_rule_are_learnt_by_one_more_call_and_then_go_along(user: Any, past: Clock) -> None:
    give(user)
    use(user)
    periods.forget()
    limit(100, "month", time_zone="Asia/Tokyo"), limit(100)
    use(user)
    if periods.at(past.now):
        with CaptureQueriesContext(connection) as queries:
            use(user, used_at=past.now)
        assert len(queries) == 1


def test_the_state_of_limits_takes_as_many_queries_however_many_there_are(user: Any, clock: Clock) -> None:
    give(user)
    limit(10), limit(5, metric="requests")
    use(user, 4)
    tokens.hold(user, 2, key="a")
    with CaptureQueriesContext(connection) as few:
        found = tokens.limits(user)
    assert [(of.metric, of.used, of.held, of.left) for of in found] == [("requests", 1, 1, 3), ("tokens", 4, 2, 4)]
    assert found[0].resets_at == datetime(2031, 5, 16, tzinfo=BERLIN)
    limit(7, model="m1"), limit(8, user=user), limit(5, "request"), limit(3, "concurrent", metric="requests")
    with CaptureQueriesContext(connection) as more:
        # The user's own rule leaves nothing to the other ones of a day.
        assert len(tokens.limits(user)) == 4
    assert len(more) == len(few)
    later = clock.on(seconds=1)
    clock.on(days=1)
    assert {of.used for of in tokens.limits(user)} == {0}
    assert {of.used for of in tokens.limits(user, as_of=later) if of.window == "day"} == {4, 1}
    assert tokens.limits(new_user())[0].used == 0
