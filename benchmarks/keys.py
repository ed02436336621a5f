"""What an idempotency key costs, and how much cheaper a repeated call is than a first one."""

from benchmarks import calls
from benchmarks.harness import Goal, Options, add_accounts, by_turns, crew, database, options, rates

ACCOUNTS = 10_000


def run(given: Options) -> None:
    with database():
        add_accounts(ACCOUNTS)
        for size in (1, 4):
            with crew(size) as workers:
                pairs = by_turns(
                    given,
                    lambda seconds: workers.repeat(calls.consume, seconds, accounts=ACCOUNTS),
                    lambda seconds: workers.repeat(calls.consume, seconds, accounts=ACCOUNTS, keyed=False),
                )
                rates(f"with a key, {size} process(es) : without", pairs, Goal(0.80, 0.90))
                pairs = by_turns(
                    given,
                    lambda seconds: workers.repeat(calls.consume_again, seconds, accounts=ACCOUNTS),
                    lambda seconds: workers.repeat(calls.consume, seconds, accounts=ACCOUNTS),
                )
                rates(f"repeated, {size} process(es) : first", pairs, Goal(2, 4))


if __name__ == "__main__":
    run(options(__doc__))
