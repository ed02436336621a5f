"""grant_many() to 100,000 and 1 M users, with entries and audit event, against bare INSERT..SELECT of the same rows.

The bare rows go into copies of the tables with all their checks, indexes and foreign keys; nobody is locked for them,
no balance is kept and no key looked up.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from django.contrib.auth import get_user_model
from django.db import connection, transaction

from benchmarks.harness import (
    ACCOUNT,
    ENTRY,
    EVENT,
    KEY,
    LOT,
    Goal,
    Options,
    add_users,
    alternate,
    bare_copy,
    database,
    execute,
    options,
    peak_memory,
    seconds,
    settle_down,
    time_from_now,
    times,
    users,
)
from django_token_pricing import tokens
from django_token_pricing.tokens import GrantRow

BARE_LOTS = """
    WITH lots AS (
        INSERT INTO bare.lot (account_id, source, amount, remaining, is_open, priority, starts_at, expires_at,
            booked_at, paid_currency, key)
        SELECT a.id, 'plan', 1000, 1000, true, 100, now(), now() + interval '30 days', now(), '', {key}
        FROM {rows} RETURNING id, account_id, amount, booked_at)
"""
BARE_ENTRIES = """
    INSERT INTO bare.entry (account_id, allocation_id, kind, amount, lot_balance, balance_after, booked_at)
    SELECT account_id, id, 'grant', amount, amount, amount, booked_at FROM lots
"""
BARE_KEYS = """, keys AS (
    INSERT INTO bare.key (digest, verb, account_id, amount, detail, booked_at)
    SELECT gen_random_uuid(), 'grant', account_id, amount, 'plan', booked_at FROM lots)
"""


def prepare() -> None:
    """The tables as they were before the first grant, on both sides."""
    execute(f"TRUNCATE {LOT}, {ENTRY}, {KEY}, {EVENT}, bare.lot, bare.entry, bare.key CASCADE")
    settle_down()


def granting(number: int, key: str | None = None, *, chunk: int = 0) -> float:
    prepare()
    everybody = get_user_model().objects.all()
    give = partial(tokens.grant_many, amount=1_000, source="plan", expires_at=time_from_now(days=30), key=key)
    steps = range(1, number + 1, chunk or number)
    return seconds(lambda: [give(everybody.filter(pk__gte=n, pk__lt=n + (chunk or number))) for n in steps])


def inserting(number: int, key: str | None = None) -> float:
    prepare()
    rows = f"{ACCOUNT} a JOIN auth_user u ON u.id = a.user_id WHERE u.id <= {number}"
    named = "''" if key is None else f"'{key}:' || a.user_id"
    statement = BARE_LOTS.format(key=named, rows=rows) + (BARE_KEYS if key else "") + BARE_ENTRIES
    return seconds(lambda: execute(statement))


def granting_rows(owners: list[object], key: str | None) -> float:
    prepare()
    ends = time_from_now(days=30)

    def rows() -> Iterator[GrantRow]:
        for number, owner in enumerate(owners):
            yield GrantRow(owner, 1_000, key=key and f"{key}-{number}")

    return seconds(lambda: tokens.grant_many(rows(), source="plan", expires_at=ends))


def copying(owners: list[object], key: str | None) -> float:
    prepare()

    def call() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE bare_rows (username text, amount bigint, key text) ON COMMIT DROP")
            with cursor.copy("COPY bare_rows FROM STDIN") as copy:
                for number, owner in enumerate(owners):
                    copy.write_row((owner.username, 1_000, f"{key}-{number}" if key else ""))
            rows = f"bare_rows r JOIN auth_user u ON u.username = r.username JOIN {ACCOUNT} a ON a.user_id = u.id"
            cursor.execute(BARE_LOTS.format(key="r.key", rows=rows) + (BARE_KEYS if key else "") + BARE_ENTRIES)

    return seconds(call)


def run(given: Options) -> None:
    some, all_of_them = (5_000, 20_000) if given.quick else (100_000, 1_000_000)
    with database():
        add_users(all_of_them)
        # The accounts exist, as they do after the first grant of a user's life.
        first = seconds(lambda: tokens.grant_many(get_user_model().objects.all(), 1, source="plan"))
        print(f"  the first grant, which opens the accounts: {all_of_them / first:,.0f} users a second")
        fillfactor = "WITH (fillfactor = 70)"
        bare_copy(LOT, "lot", storage=fillfactor, instead={LOT: "bare.lot"})
        bare_copy(ENTRY, "entry", instead={LOT: "bare.lot"})
        bare_copy(KEY, "key")
        title = "grant_many(), {:,} users{} : INSERT..SELECT"
        before = peak_memory()
        for number in (some, all_of_them):
            pairs = alternate(given.rounds, partial(granting, number), partial(inserting, number))
            times(title.format(number, ""), pairs, Goal(2, 1.4, low=True), rows=number)
            print(f"  peak memory of the process: {before:.0f} MB before, {peak_memory():.0f} MB after")
        keyed = some // 5
        pairs = alternate(given.rounds, partial(granting, keyed, "k"), partial(inserting, keyed, "k"))
        times(title.format(keyed, ", keyed"), pairs, Goal(2, 1.4, low=True), rows=keyed)
        pairs = alternate(given.rounds, partial(granting, all_of_them, chunk=some), partial(granting, all_of_them))
        times(f"grant_many(), {all_of_them:,} in steps of {some:,} : at once", pairs, Goal(1.2, 1.05, low=True))
        owners = users(some)
        before = peak_memory()
        for key in (None, "k"):
            given_owners = owners[:keyed] if key else owners
            pairs = alternate(
                given.rounds, partial(granting_rows, given_owners, key), partial(copying, given_owners, key)
            )
            title = f"grant_many(rows), {len(given_owners):,}{', keyed' if key else ''} : COPY + join"
            times(title, pairs, Goal(4, 2.5, low=True), rows=len(given_owners))
        print(f"  peak memory of the process: {before:.0f} MB before, {peak_memory():.0f} MB after")


if __name__ == "__main__":
    run(options(__doc__))
