"""hold() with settle() against two consume(), and how many statements each metering verb sends in autocommit."""

from collections.abc import Callable
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from benchmarks import calls
from benchmarks.harness import Goal, Options, add_accounts, by_turns, crew, database, options, rates, ratio, users
from django_token_pricing import tokens

ACCOUNTS = 10_000


def statements(call: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as captured:
        call()
    return len(captured)


def run(given: Options) -> None:
    with database():
        add_accounts(ACCOUNTS)
        (owner,) = users(1)
        tokens.consume(owner, 1, key="warm")
        for name, call in {
            "consume": lambda: tokens.consume(owner, 7, key="a", **calls.FACTS),
            "hold": lambda: tokens.hold(owner, 7, key="b"),
            "settle": lambda: tokens.settle("b", 5),
            "hold again": lambda: tokens.hold(owner, 7, key="c"),
            "release": lambda: tokens.release("c"),
        }.items():
            ratio(f"statements of one {name}", [statements(call)], Goal(1, low=True))
        for size in (1, 4):
            with crew(size) as workers:
                pairs = by_turns(
                    given,
                    lambda seconds: workers.repeat(calls.hold_and_settle, seconds, accounts=ACCOUNTS),
                    lambda seconds: workers.repeat(calls.consume_twice, seconds, accounts=ACCOUNTS),
                )
                rates(f"hold + settle, {size} process(es) : 2 consume", pairs, Goal(0.80, 1))


if __name__ == "__main__":
    run(options(__doc__))
