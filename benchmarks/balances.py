"""balances() of 1,000 owners, and balance(as_of) of an account with many entries against one with few."""

import itertools
import random
from datetime import timedelta

from django.db import connection
from django.test.utils import CaptureQueriesContext

from benchmarks.harness import (
    ENTRY,
    LOT,
    Goal,
    Options,
    add_accounts,
    alternate,
    database,
    execute,
    options,
    ratio,
    scalar,
    seconds,
    settle_down,
    times,
    users,
)
from django_token_pricing import tokens
from django_token_pricing.models import TokenAllocation

OWNERS = 1_000
FEW, MANY = 1_000, 100_000
QUESTIONS = 200


def book_many(owner: object, number: int) -> None:
    """Give the owner's lots entries of a token each, a second apart, as so many calls of consume() would leave them."""
    lots = list(TokenAllocation.objects.filter(account__user=owner).order_by("pk").values_list("pk", flat=True))
    execute(
        f"""
        INSERT INTO {ENTRY} (account_id, allocation_id, kind, amount, lot_balance, balance_after, booked_at)
        SELECT a.account_id, a.id, 'consume', -1, a.remaining - n / %s - 1, 0,
            a.booked_at + (n + 1) * interval '1 second'
        FROM generate_series(0, %s) n JOIN {LOT} a ON a.id = (%s::bigint[])[1 + n %% %s]
        """,
        [len(lots), number - 1, lots, len(lots)],
    )


def run(given: Options) -> None:
    few, many = (FEW // 10, MANY // 10) if given.quick else (FEW, MANY)
    with database():
        add_accounts(10_000)
        owners = users()
        some = random.Random(1).sample(owners, OWNERS)
        with CaptureQueriesContext(connection) as captured:
            tokens.balances(some)
        ratio(f"queries of balances() of {OWNERS:,} owners", [len(captured)], Goal(3, low=True))
        bare = (
            f"SELECT a.user_id, sum(l.remaining), min(l.expires_at) FROM {LOT} l"
            " JOIN django_token_pricing_tokenaccount a ON a.id = l.account_id WHERE a.user_id = ANY(%s) AND l.is_open"
            " AND l.starts_at <= now() AND (l.expires_at IS NULL OR l.expires_at > now()) GROUP BY a.user_id"
        )
        numbers = [owner.pk for owner in some]

        def rows() -> None:
            with connection.cursor() as cursor:
                cursor.execute(bare, [numbers])
                cursor.fetchall()

        pairs = alternate(given.rounds * 3, lambda: seconds(lambda: tokens.balances(some)), lambda: seconds(rows))
        times(f"balances() of {OWNERS:,} owners : one bare SELECT", pairs, Goal())
        with CaptureQueriesContext(connection) as captured:
            tokens.balances(some, as_of=scalar("SELECT clock_timestamp()"))
        ratio(f"queries of balances(as_of) of {OWNERS:,} owners", [len(captured)], Goal())

        short, long = owners[0], owners[1]
        book_many(short, few)
        book_many(long, many)
        settle_down()

        def asked(owner: object, entries: int) -> float:
            since = TokenAllocation.objects.filter(account__user=owner).latest("booked_at").booked_at
            pick = random.Random(entries).uniform
            moments = [since + timedelta(seconds=pick(0, entries)) for _ in range(QUESTIONS)]
            tokens.balance(owner, as_of=moments[0])
            return seconds(lambda: [tokens.balance(owner, as_of=moment) for moment in moments]) / QUESTIONS

        pairs = alternate(given.rounds, lambda: asked(long, many), lambda: asked(short, few))
        times(f"balance(as_of), {many:,} entries : {few:,}", pairs, Goal(3, low=True))
        now = list(itertools.islice(itertools.repeat(long), QUESTIONS))
        pairs = alternate(
            given.rounds,
            lambda: asked(long, many),
            lambda: seconds(lambda: [tokens.balance(owner) for owner in now]) / QUESTIONS,
        )
        times("balance(as_of) : balance() now", pairs, Goal())


if __name__ == "__main__":
    run(options(__doc__))
