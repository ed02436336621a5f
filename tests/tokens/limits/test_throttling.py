"""Throttles: N admits N, on Redis by however many processes, elsewhere as well as the cache can."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from django.core.cache import cache
from django.core.cache.backends.locmem import LocMemCache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_token_pricing import tokens
from django_token_pricing.exceptions import InvalidAmount, LimitExceeded, Throttled, ThrottleUnavailable
from django_token_pricing.models import LimitRule, TokenAccount
from django_token_pricing.tokens.limits import rules, throttle_counters, throttle_rules, throttling
from django_token_pricing.tokens.limits.throttle_counters import Standing, Window
from tests import redis_server, world
from tests.conftest import Parallel


class Broken(LocMemCache):
    """A cache whose server is gone."""

    def _fail(self, *args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("nobody answers")

    add = get = incr = _fail


CACHES = {
    "redis": redis_server.cache,
    "locmem": lambda: {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "LOCATION": redis_server.cache()["KEY_PREFIX"],
    },
}


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    throttle_rules.forget()
    yield
    throttle_rules.forget()


@pytest.fixture(params=sorted(CACHES))
def backend(request: pytest.FixtureRequest, settings: Any) -> str:
    settings.CACHES = {"default": CACHES[request.param]()}
    return str(request.param)


@pytest.fixture
def redis(settings: Any) -> str:
    settings.CACHES = {"default": redis_server.cache()}
    return str(settings.CACHES["default"]["KEY_PREFIX"])


def set_limit(limit: int, **terms: Any) -> LimitRule:
    facts = {"scope": "default", "metric": "requests", "window": "day", "counting": "cache", **terms}
    return rules.set_limit(limit=limit, reason="Fair use", actor=None, **facts)


def admitted(owner: Any, times: int, **asked: Any) -> int:
    passed = 0
    for _ in range(times):
        try:
            passed += bool(tokens.throttle(owner, **asked))
        except LimitExceeded:
            continue
    return passed


def test_as_many_pass_as_the_limit_says_and_who_is_refused_learns_when_to_come_again(user: Any, backend: str) -> None:
    rule = set_limit(3, window="hour")
    assert [tokens.throttle(user).remaining for _ in range(3)] == [2, 1, 0]
    with pytest.raises(Throttled) as caught:
        tokens.throttle(user)
    facts = caught.value.facts
    assert (facts["rule"], facts["limit"], facts["used"], facts["requested"]) == (rule.pk, 3, 3, 1)
    assert 0 < facts["retry_after"] <= 3_600


@pytest.mark.parametrize("alignment", ["calendar", "rolling"])
def test_what_is_refused_is_counted_nowhere(user: Any, backend: str, alignment: str) -> None:
    set_limit(10, metric="tokens", alignment=alignment)
    set_limit(100, alignment=alignment)
    assert tokens.throttle(user, 8)
    with pytest.raises(Throttled):
        tokens.throttle(user, 3)
    state = tokens.throttle(user, 2)
    assert (state.metric, state.used, state.remaining) == ("tokens", 10, 0)
    assert tokens.throttle(user, 0).used == 10
    assert tokens.throttle(user, 0, requests=0).used == 10


def test_what_no_waiting_would_let_pass_says_so(user: Any, backend: str) -> None:
    set_limit(10, metric="tokens")
    with pytest.raises(LimitExceeded) as caught:
        tokens.throttle(user, 11)
    assert caught.value.retry_after is None
    assert not isinstance(caught.value, Throttled)


def test_grace_lets_some_more_pass(user: Any, backend: str) -> None:
    set_limit(2, mode="grace", grace=2)
    assert admitted(user, 6) == 4


def test_without_a_throttle_there_is_nothing_to_say_and_the_cache_is_not_asked(user: Any, settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": f"{__name__}.Broken"}}
    set_limit(1, counting="ledger")
    assert not tokens.throttle(user)


@pytest.mark.parametrize("tokens_given", [-1, 1.5, True, 2**53 + 1])
def test_amounts_that_cannot_be_counted_are_refused(user: Any, tokens_given: Any) -> None:
    with pytest.raises(InvalidAmount):
        tokens.throttle(user, tokens_given)


def test_the_most_specific_rule_counts(backend: str) -> None:
    user, other = world.new_users(2)
    set_limit(1)
    set_limit(3, scope="user", user=user)
    set_limit(2, scope="user", user=user, model="large")
    set_limit(5, scope="tier", tier="pro")
    assert admitted(other, 6) == 1
    assert admitted(user, 6, model="large") == 2
    # Rules choose, counters count: two are used already.
    assert admitted(user, 6, model="small") == 1
    third = world.new_user()
    TokenAccount.objects.create(user=third, tier="pro")
    assert admitted(third, 9) == 5


def test_a_more_specific_rule_that_is_counted_exactly_takes_the_place_of_a_throttle(user: Any, backend: str) -> None:
    set_limit(1)
    set_limit(100, scope="user", user=user, counting="ledger")
    assert not tokens.throttle(user)


def test_members_of_a_pool_share_its_limit(backend: str) -> None:
    user, other, stranger = world.new_users(3)
    pool = world.new_pool(user, other)
    set_limit(3, scope="pool", pool=pool)
    assert admitted(user, 2) == 2
    assert admitted(other, 4) == 1
    assert not tokens.throttle(stranger)


def test_a_request_asks_no_database_and_an_override_counts_after_some_seconds(
    user: Any, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limit(2)
    tokens.throttle(user)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        tokens.throttle(user)
    assert len(asked) == 0
    LimitRule.objects.update(limit=5)  # elsewhere, without a word to this process
    assert admitted(user, 1) == 0
    later = time.monotonic() + throttle_rules.KEPT + 1
    monkeypatch.setattr(throttle_rules.time, "monotonic", lambda: later)
    assert admitted(user, 9) == 3


def test_of_many_owners_the_latest_are_kept(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle_rules, "MOST_OWNERS", 3)
    set_limit(2)
    users = world.new_users(5)
    for user in users:
        tokens.throttle(user)
    assert len(throttle_rules._owners) == 3
    assert admitted(users[0], 5) == 1


def test_two_windows_of_one_zone_each_have_their_own_count(user: Any, backend: str) -> None:
    set_limit(10, time_zone="Asia/Kolkata")
    set_limit(4, window="month")
    assert admitted(user, 12) == 4


# Time -----------------------------------------------------------------------------------------------------------------


def standing(rule: LimitRule, *, current: int, before: int, amount: int, passed: float, length: int = 60) -> Standing:
    second = 1_000_000
    window = Window(0, length * second, length * second)
    counter = throttle_rules.Counter("user:1", "requests", "minute~", rule)
    return Standing(counter, window, int(passed * second), current, before, amount)


def test_a_rolling_window_counts_the_part_of_the_one_before_that_it_covers(db: None) -> None:
    rule = rules.draft(
        scope="default", metric="requests", window="minute", alignment="rolling", limit=10, counting="cache"
    )
    found = standing(rule, current=2, before=9, amount=1, passed=15)
    assert found.used == 2 + 7  # 9 × 45/60 = 6.75
    assert found.passes()
    refused = standing(rule, current=4, before=9, amount=1, passed=15)
    wait = refused.wait()
    assert wait == 45_000_000 - 60_000_000 * 5 // 9
    for early, is_right in ((1, False), (0, True)):
        then = standing(rule, current=4, before=9, amount=1, passed=(15_000_000 + wait - early) / 1_000_000)
        assert then.passes() is is_right
    full = standing(rule, current=10, before=0, amount=1, passed=15)
    # In the next window the ten weigh nine when a tenth of it is over.
    assert full.wait() == 45_000_000 + 6_000_000
    assert standing(rule, current=0, before=0, amount=11, passed=15).wait() is None


def test_a_window_that_is_over_counts_no_more(user: Any, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(throttle_counters.windows.LENGTHS, "minute", timedelta(seconds=1))
    set_limit(2, window="minute")
    assert admitted(user, 4) >= 2
    time.sleep(1.05)
    assert tokens.throttle(user)


def test_the_clock_of_the_server_counts(user: Any, redis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limit(5, window="minute")
    ahead = time.time_ns() + 3_600 * 10**9
    monkeypatch.setattr(throttle_counters.time, "time_ns", lambda: ahead)
    monkeypatch.setattr(throttle_counters, "_ahead", {})
    state = tokens.throttle(user)
    assert state.reset_at is not None
    assert state.reset_at <= datetime.now(timezone.utc) + timedelta(minutes=1)


def test_counters_go_by_themselves(user: Any, redis: str) -> None:
    set_limit(5, window="hour")
    set_limit(5, window="minute", alignment="rolling")
    tokens.throttle(user)
    client = cache._cache.get_client()  # type: ignore[attr-defined]
    keys = list(client.scan_iter(f"{redis}:*"))
    assert len(keys) == 2
    assert all(0 < client.ttl(key) <= 3_602 for key in keys)


# At once --------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
@pytest.mark.parametrize("alignment", ["calendar", "rolling"])
def test_of_many_threads_exactly_as_many_pass(in_parallel: Parallel[Any], redis: str, alignment: str) -> None:
    user = world.new_user()
    set_limit(50, window="month", alignment=alignment)
    set_limit(1_000, metric="tokens", window="month", alignment=alignment)
    answers = in_parallel([lambda: admitted(user, 10, tokens=1)] * 16)
    assert sum(answers) == 50
    assert tokens.throttle(user, requests=0).used == 50


@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
def test_of_many_threads_no_more_pass_through_a_cache_of_the_process(in_parallel: Parallel[Any], settings: Any) -> None:
    settings.CACHES = {"default": CACHES["locmem"]()}
    user = world.new_user()
    set_limit(50, window="month")
    assert sum(in_parallel([lambda: admitted(user, 10)] * 16)) == 50


@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
def test_of_many_processes_exactly_as_many_pass(redis: str, child_environment: dict[str, str]) -> None:
    world.new_user()
    set_limit(50, window="month")
    command = [sys.executable, "-m", "tests.tokens.limits.throttling_worker", redis, "40"]
    processes = [subprocess.Popen(command, env=child_environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sum(int(process.communicate(timeout=120)[0]) for process in processes) == 50


# Without the cache ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["broken", "redis that is gone"])
def gone(request: pytest.FixtureRequest, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "_logged", -throttling.LOGGED_EVERY)
    if request.param == "broken":
        settings.CACHES = {"default": {"BACKEND": f"{__name__}.Broken"}}
    else:
        settings.CACHES = {"default": {**redis_server.cache(), "LOCATION": "redis://127.0.0.1:1/0"}}


def test_an_open_limit_lets_pass_and_the_log_says_it_once(
    user: Any, gone: None, caplog: pytest.LogCaptureFixture
) -> None:
    set_limit(1, on_failure="open")
    with caplog.at_level(logging.ERROR, logger=throttling.__name__):
        assert [bool(tokens.throttle(user)) for _ in range(5)] == [False] * 5
    assert len(caplog.records) == 1


def test_a_closed_limit_lets_nothing_pass(user: Any, gone: None) -> None:
    rule = set_limit(1, on_failure="closed")
    set_limit(1, window="hour", on_failure="open")
    with pytest.raises(ThrottleUnavailable) as caught:
        tokens.throttle(user)
    assert (caught.value.rule, caught.value.retry_after) == (rule.pk, throttling.RETRY_AFTER)


def test_a_cache_that_keeps_nothing_is_one_that_cannot_be_reached(user: Any, settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    set_limit(1, on_failure="closed")
    with pytest.raises(ThrottleUnavailable):
        tokens.throttle(user)
