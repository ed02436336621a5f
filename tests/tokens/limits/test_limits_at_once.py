"""Limits under real connections at once: as many are admitted as a limit says, not one more and not one less."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.db.models import Sum

from django_token_pricing import tokens
from django_token_pricing.models import LimitCounter, TokenHold, TokenUsageLog
from tests.tokens.limits.setting import give, limit
from tests.world import new_pool, new_user, new_users

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.concurrency]

POSTGRES = connection.vendor == "postgresql"
# One writer at a time is SQLite's nature, so more threads would only wait longer.
THREADS = 64 if POSTGRES else 8
MOST = THREADS // 2 - 1


def admitted(answers: list[Any]) -> int:
    """How many passed; whoever did not was refused by a limit."""
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert {repr(error) for error in refused if not isinstance(error, tokens.LimitExceeded)} == set()
    return len(answers) - len(refused)


def uses(owners: list[Any], amount: int = 1, name: str = "") -> list[Callable[[], Any]]:
    return [
        partial(tokens.consume, owners[n % len(owners)], amount, key=f"{name}{owners[0].pk}:{n}")
        for n in range(THREADS)
    ]


def check_books() -> None:
    assert list(tokens.reconcile()) == []


@pytest.mark.parametrize(
    ("window", "terms"),
    [
        ("day", {}),
        ("month", {"metric": "requests"}),
        ("hour", {"alignment": "rolling"}),
        ("total", {}),
    ],
)
def test_exactly_as_many_pass_as_a_limit_says(in_parallel: Any, window: str, terms: dict[str, Any]) -> None:
    user = new_user()
    give(user)
    limit(MOST, window, **terms)
    assert admitted(in_parallel(uses([user]))) == MOST
    assert TokenUsageLog.objects.count() == MOST
    check_books()


def test_exactly_as_many_pass_a_minute_even_where_one_ends_meanwhile(in_parallel: Any) -> None:
    user = new_user()
    give(user)
    limit(MOST, "minute", metric="requests")
    in_parallel(uses([user]))
    by_minute: dict[Any, int] = {}
    for used_at in TokenUsageLog.objects.values_list("used_at", flat=True):
        minute = used_at.replace(second=0, microsecond=0)
        by_minute[minute] = by_minute.get(minute, 0) + 1
    assert max(by_minute.values()) == MOST
    assert len(by_minute) == 1 or sum(by_minute.values()) <= THREADS
    check_books()


def test_exactly_as_many_pass_of_all_members_as_the_limit_of_a_pool_says(in_parallel: Any) -> None:
    members = new_users(5)
    pool = new_pool(*members)
    for owner in (*members, pool):
        give(owner)
    limit(MOST, pool=pool)
    assert admitted(in_parallel(uses([*members, pool]))) == MOST
    row = LimitCounter.objects.get(account__pool=pool)
    assert (row.tokens, row.requests) == (MOST, MOST)
    check_books()


def test_exactly_as_many_hold_at_the_same_time_as_a_limit_says(in_parallel: Any) -> None:
    user = new_user()
    give(user)
    limit(MOST, "concurrent", metric="requests"), limit(MOST)
    holds = [partial(tokens.hold, user, 1, key=f"{n}") for n in range(THREADS)]
    assert admitted(in_parallel(holds)) == MOST
    # Those that are held may be settled or released, and their places taken anew.
    keys = list(TokenHold.objects.values_list("key", flat=True))
    done = in_parallel(
        [partial(tokens.settle, key, 1) if n % 2 else partial(tokens.release, key) for n, key in enumerate(keys)]
    )
    assert [error for error in done if isinstance(error, BaseException)] == []
    left = MOST - TokenUsageLog.objects.count()
    assert admitted(in_parallel(uses([user]))) == left
    check_books()


def test_refunds_in_between_give_their_places_to_others_and_to_no_more(in_parallel: Any) -> None:
    user = new_user()
    give(user)
    limit(MOST)
    assert admitted(in_parallel(uses([user], name="first"))) == MOST
    keys = list(TokenUsageLog.objects.values_list("key", flat=True))[: THREADS // 4]
    refunds = [partial(tokens.refund, key, reason="sorry") for key in keys]
    admitted(in_parallel([*refunds, *uses([user], name="second")[: THREADS - len(refunds)]]))
    drawn = TokenUsageLog.objects.aggregate(n=Sum("amount"))["n"] - len(keys)
    assert drawn <= MOST
    assert admitted(in_parallel(uses([user], name="third"))) == MOST - drawn
    check_books()


def test_the_first_limit_of_a_pool_misses_no_use_that_is_under_way(in_parallel: Any, race_seeds: range) -> None:
    for seed in race_seeds:
        members = new_users(4)
        pool, newcomer = new_pool(*members), new_user()
        for owner in (*members, newcomer):
            give(owner)
        calls = uses([*members, newcomer], name=f"{seed}")[: THREADS - 2]
        calls.insert(len(calls) // 2, partial(limit, MOST, pool=pool))
        calls.insert(len(calls) // 4, partial(tokens.add_members, pool, [newcomer], reason="new", actor=None))
        admitted(in_parallel(calls))
        # What is left is exactly what the log of the pool has left.
        counted = TokenUsageLog.objects.filter(member_of__pool=pool).count()
        check_books()
        again = uses(members, name=f"{seed} again")
        assert admitted(in_parallel(again)) == max(MOST - counted, 0)
        check_books()


def test_a_limit_that_is_tightened_meanwhile_holds_from_then_on(in_parallel: Any) -> None:
    user = new_user()
    give(user)
    rule = limit(THREADS)
    calls = uses([user])[: THREADS - 1]
    calls.insert(THREADS // 2, partial(limit, MOST, rule=rule))
    admitted(in_parallel(calls))
    used = TokenUsageLog.objects.count()
    assert admitted(in_parallel(uses([user], name="more"))) == max(MOST - used, 0)
    check_books()


def test_two_who_set_a_limit_for_the_same_at_once_do_not_both_succeed(in_parallel: Any) -> None:
    user = new_user()
    answers = in_parallel([partial(limit, n, user=user) for n in range(8)])
    assert sum(isinstance(answer, tokens.LimitTaken) for answer in answers) == 7
    assert sum(isinstance(answer, BaseException) for answer in answers) == 7


def test_uses_that_come_out_of_order_pass_a_rolling_limit_as_often_as_it_says(in_parallel: Any) -> None:
    user = new_user()
    give(user)
    limit(MOST, "hour", alignment="rolling")
    first = tokens.consume(user, 0, key=None).booked_at
    calls = [
        partial(tokens.consume, user, 1, key=None, used_at=first - timedelta(minutes=n % 7)) for n in range(THREADS)
    ]
    assert admitted(in_parallel(calls)) == MOST
    check_books()
