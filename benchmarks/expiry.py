"""expire() of 100,000 lapsed lots, each of another account, against bare INSERT..SELECT and UPDATE of the same rows."""

from __future__ import annotations

from functools import partial

from django.db import transaction

from benchmarks.harness import (
    ACCOUNT,
    ENTRY,
    LOT,
    Goal,
    Options,
    add_users,
    alternate,
    bare_copy,
    database,
    execute,
    options,
    scalar,
    seconds,
    settle_down,
    times,
)
from django_token_pricing import tokens

FILL = """
    WITH lots AS (
        INSERT INTO {lot} (account_id, source, amount, remaining, is_open, priority, starts_at, expires_at, booked_at,
            paid_currency, key)
        SELECT id, 'plan', 1000, 1000, true, 100, now() - interval '9 days', now() - interval '1 day',
            now() - interval '9 days', '', '' FROM {account} RETURNING id, account_id, booked_at
    ), moved AS (
        UPDATE {account} a SET balance = 1000, booked_at = l.booked_at FROM lots l WHERE a.id = l.account_id)
    INSERT INTO {entry} (account_id, allocation_id, kind, amount, lot_balance, balance_after, booked_at)
    SELECT account_id, id, 'grant', 1000, 1000, 1000, booked_at FROM lots
"""
OURS = {"lot": LOT, "entry": ENTRY, "account": ACCOUNT}
BARE = {"lot": "bare.lot", "entry": "bare.entry", "account": "bare.account"}


def prepare(tables: dict[str, str]) -> None:
    execute("TRUNCATE {lot}, {entry} CASCADE".format(**tables))
    execute(FILL.format(**tables))
    settle_down()


def expiring() -> float:
    prepare(OURS)
    moment = scalar("SELECT clock_timestamp()")
    return seconds(lambda: tokens.expire(as_of=moment))


def updating() -> float:
    prepare(BARE)

    def call() -> None:
        with transaction.atomic():
            execute(
                "INSERT INTO bare.entry"
                " (account_id, allocation_id, kind, amount, lot_balance, balance_after, booked_at)"
                " SELECT account_id, id, 'expire', -remaining, 0, 0, now() FROM bare.lot"
                " WHERE is_open AND expires_at <= now()"
            )
            execute(
                "UPDATE bare.account a SET balance = a.balance - l.remaining, booked_at = now() FROM bare.lot l"
                " WHERE l.account_id = a.id AND l.is_open AND l.expires_at <= now()"
            )
            execute("UPDATE bare.lot SET remaining = 0, is_open = false WHERE is_open AND expires_at <= now()")

    return seconds(call)


def run(given: Options) -> None:
    number = 5_000 if given.quick else 100_000
    with database():
        add_users(number)
        execute(f"INSERT INTO {ACCOUNT} (user_id, tier, balance, created_at) SELECT id, '', 0, now() FROM auth_user")
        fillfactor = "WITH (fillfactor = 70)"
        bare_copy(ACCOUNT, "account", storage=fillfactor)
        execute(f"INSERT INTO bare.account SELECT * FROM {ACCOUNT}")
        bare_copy(LOT, "lot", storage=fillfactor, instead={LOT: "bare.lot", ACCOUNT: "bare.account"})
        bare_copy(ENTRY, "entry", instead={LOT: "bare.lot", ACCOUNT: "bare.account"})
        pairs = alternate(given.rounds, partial(expiring), partial(updating))
        times(f"expire(), {number:,} lots : INSERT..SELECT + UPDATE", pairs, Goal(), rows=number)


if __name__ == "__main__":
    run(options(__doc__))
