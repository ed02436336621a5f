"""consume() under three live limits against consume() while there is none, by 1 and by 4 processes.

The limits, for everybody, are tokens a day, requests a minute and tokens a request. They are switched on and off
between the rounds; each form has accounts of its own, so that none of those without limits has a counter.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.calls import FACTS
from benchmarks.harness import (
    PLENTY,
    Crew,
    Goal,
    Options,
    Rate,
    add_accounts,
    by_turns,
    crew,
    database,
    execute,
    fresh_keys,
    options,
    rates,
    settle_down,
    users,
)
from django_token_pricing import tokens
from django_token_pricing.tokens.limits import periods

ACCOUNTS = 10_000
RULE = "django_token_pricing_limitrule"


def consuming(place: int, limited: bool) -> Callable[[], Any]:
    owners, keys, pick = users(), fresh_keys(place), random.Random(place).choice
    half = len(owners) // 2
    mine = owners[:half] if limited else owners[half:]
    if limited:
        return lambda: tokens.consume(pick(mine), 7, key=next(keys), **FACTS)

    def call() -> Any:
        # As in a process that has never met a limit.
        periods.forget()
        return tokens.consume(pick(mine), 7, key=next(keys), **FACTS)

    return call


def set_limits() -> None:
    for metric, window in (("tokens", "day"), ("requests", "minute"), ("tokens", "request")):
        tokens.set_limit(scope="default", metric=metric, window=window, limit=PLENTY, reason="to measure", actor=None)


def rounds(workers: Crew, limited: bool, seconds: float) -> Rate:
    if limited:
        execute(f"UPDATE {RULE} SET retired_at = NULL, slot = gen_random_uuid()")
    else:
        execute(f"UPDATE {RULE} SET retired_at = now(), slot = NULL")
    return workers.repeat(consuming, seconds, limited=limited)


def run(given: Options) -> None:
    with database():
        add_accounts(ACCOUNTS)
        set_limits()
        settle_down()
        for size in (1, 4):
            with crew(size) as workers:
                pairs = by_turns(given, partial(rounds, workers, True), partial(rounds, workers, False))
                rates(f"consume(), {size} process(es), three limits : none", pairs, Goal(0.85, 0.95))


if __name__ == "__main__":
    run(options(__doc__))
