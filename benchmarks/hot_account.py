"""One account that 16 processes consume from at once, against pgbench with 16 clients on one account."""

import statistics

from benchmarks import calls
from benchmarks.harness import (
    Goal,
    Options,
    Yardstick,
    add_accounts,
    by_turns,
    crew,
    database,
    hot_updates,
    options,
    rates,
    ratio,
)

WRITERS = 16


def run(given: Options) -> None:
    with database():
        # Among many others: on tables of a few rows PostgreSQL plans to scan them whole.
        add_accounts(10_000)
        yardstick = Yardstick(1)
        with crew(WRITERS) as workers:
            pairs = by_turns(
                given,
                lambda seconds: workers.repeat(calls.consume, seconds, accounts=1),
                lambda seconds: yardstick.run(WRITERS, seconds, latencies=True),
            )
        rates(f"hot account, {WRITERS} writers : pgbench yardstick", pairs, Goal(0.50, 0.70))
        ours, other = (statistics.median(rate.p99 * 1e3 for rate in found) for found in zip(*pairs, strict=True))
        found = [mine.p99 / its.p99 for mine, its in pairs]
        ratio("hot account, its 99th percentile", found, Goal(2, 1.5, low=True), f"({ours:.0f} : {other:.0f} ms)")
        hot_updates()


if __name__ == "__main__":
    run(options(__doc__))
