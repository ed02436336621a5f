"""consume() with a key on 10,000 accounts of three live lots, by 1 and by 4 processes.

Against the PL/pgSQL debit under pgbench with as many clients, and against correct ORM transactions by as many
processes: one on the yardstick's lean tables, without key or foreign key, and one that does all that consume() does.
"""

from functools import partial

from benchmarks import calls, orm
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
)

ACCOUNTS = 10_000


def run(given: Options) -> None:
    with database():
        add_accounts(ACCOUNTS)
        yardstick = Yardstick(ACCOUNTS)
        for size, goal in ((1, Goal(0.50, 0.60)), (4, Goal(0.40, 0.60))):
            with crew(size) as workers:
                pairs = by_turns(
                    given,
                    lambda seconds: workers.repeat(calls.consume, seconds, accounts=ACCOUNTS),
                    partial(yardstick.run, size),
                )
                rates(f"consume(), {size} process(es) : pgbench yardstick", pairs, goal)
                pairs = by_turns(
                    given,
                    lambda seconds: workers.repeat(calls.consume, seconds, accounts=ACCOUNTS),
                    lambda seconds: workers.repeat(orm.consuming, seconds, accounts=ACCOUNTS),
                )
                rates(f"consume(), {size} process(es) : ORM, lean tables", pairs, Goal(4, 6))
                pairs = by_turns(
                    given,
                    lambda seconds: workers.repeat(calls.consume, seconds, accounts=ACCOUNTS),
                    lambda seconds: workers.repeat(calls.consume_portably, seconds, accounts=ACCOUNTS),
                )
                rates(f"consume(), {size} process(es) : ORM, same tables", pairs, Goal(4, 6))
        hot_updates()


if __name__ == "__main__":
    run(options(__doc__))
