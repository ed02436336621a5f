"""throttle() through Redis against the least that a counter there can be: one script by redis-py, one key, one limit.

A user with one rule, one with three, and one whom the most specific of several rules is for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import redis
from django.test import override_settings

from benchmarks.harness import Goal, Options, Rate, add_users, by_turns, crew, database, options, rates, users
from django_token_pricing import tokens
from django_token_pricing.tokens.limits.rules import set_limit
from tests import redis_server

PLENTY = 10**12
BARE = """
local used = redis.call('INCR', KEYS[1])
if used == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if used > tonumber(ARGV[1]) then return 0 end
return used
"""


def throttling(place: int, *, url: str, user: int) -> Callable[[], Any]:
    override_settings(CACHES={"default": {**redis_server.cache(), "LOCATION": url}}).enable()
    owner = users(user + 1)[user]
    assert tokens.throttle(owner)
    return partial(tokens.throttle, owner)


def counting(place: int, *, url: str) -> Callable[[], Any]:
    script = redis.Redis.from_url(url).register_script(BARE)
    key = f"tp-bench-{redis_server.cache()['KEY_PREFIX']}"
    return lambda: script([key], [PLENTY, 60_000])


def add_rules() -> list[str]:
    one, several, own = users(3)
    rule = partial(set_limit, limit=PLENTY, counting="cache", reason="benchmark", actor=None)
    rule(scope="user", user=one, metric="requests", window="minute")
    rule(scope="user", user=several, metric="requests", window="minute")
    rule(scope="user", user=several, metric="requests", window="day", time_zone="Europe/Berlin")
    rule(scope="user", user=several, metric="tokens", window="hour", alignment="rolling")
    rule(scope="default", metric="requests", window="week")
    rule(scope="tier", tier="pro", metric="requests", window="week")
    rule(scope="user", user=own, metric="requests", window="week", model="m1")
    rule(scope="user", user=own, metric="requests", window="week")
    return ["two rules", "four rules, one rolling", "one rule of many"]


def run(given: Options) -> None:
    url = redis_server.url()
    with database():
        add_users(3)
        names = add_rules()
        for size in (1, 4):
            with crew(size) as workers:
                for user, name in enumerate(names):

                    def ours(seconds: float, user: int = user) -> Rate:
                        return workers.repeat(throttling, seconds, url=url, user=user)

                    def bare(seconds: float) -> Rate:
                        return workers.repeat(counting, seconds, url=url)

                    title = f"throttle(), {name}, {size} process(es) : bare script"
                    rates(title, by_turns(given, ours, bare), Goal(0.60, 0.80))


if __name__ == "__main__":
    run(options(__doc__))
