"""A scan for warnings over 1,000,000 summaries with 1,000 candidates, against the bare index scan of these rows."""

from __future__ import annotations

from django.db import connection
from django.test.utils import CaptureQueriesContext

from benchmarks.harness import (
    ACCOUNT,
    ENTRY,
    LOT,
    Goal,
    Options,
    add_users,
    alternate,
    database,
    execute,
    options,
    seconds,
    settle_down,
    times,
)
from django_token_pricing import notifications
from django_token_pricing.models import WarningRule

SUMMARY = "django_token_pricing_accountsummary"
CANDIDATES = 1_000
FILL = f"""
    WITH lots AS (
        INSERT INTO {LOT} (account_id, source, amount, remaining, is_open, priority, starts_at, booked_at,
            paid_currency, key)
        SELECT id, 'plan', 1000, CASE WHEN id %% %s = 0 THEN 50 ELSE 900 END, true, 100, now(), now(), '', ''
        FROM {ACCOUNT} RETURNING id, account_id, remaining, booked_at
    ), moved AS (
        UPDATE {ACCOUNT} a SET balance = l.remaining, booked_at = l.booked_at FROM lots l WHERE a.id = l.account_id)
    INSERT INTO {SUMMARY} (account_id, tier, state, available, granted, used, share_left)
    SELECT account_id, '', CASE WHEN remaining = 50 THEN 'low' ELSE 'ok' END, remaining, 1000, 1000 - remaining,
        remaining / 10
    FROM lots
"""


def forget() -> None:
    for table in ("warningstate", "warningtally", "notification"):
        execute(f"TRUNCATE django_token_pricing_{table}")
    settle_down()


def scanning() -> float:
    """With all that fires written down."""
    forget()
    return seconds(lambda: _scan(CANDIDATES))


def scanning_again() -> float:
    """The scans that follow find the same rows, and nothing to do."""
    return seconds(lambda: _scan(0))


def reading() -> float:
    return seconds(_read)


def _scan(expected: int) -> None:
    found = notifications.warn().warnings
    assert found == expected, found


def _read() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT account_id FROM {SUMMARY} WHERE share_left <= 10 ORDER BY share_left, account_id")
        assert len(cursor.fetchall()) == CANDIDATES


def run(given: Options) -> None:
    number = 20_000 if given.quick else 1_000_000
    with database():
        add_users(number)
        execute(f"INSERT INTO {ACCOUNT} (user_id, tier, balance, created_at) SELECT id, '', 0, now() FROM auth_user")
        execute(FILL, [number // CANDIDATES])
        execute(f"ANALYZE {LOT}, {ENTRY}, {SUMMARY}")
        WarningRule.objects.create(kind="low_percent", percent=10)
        pairs = alternate(given.rounds, scanning, reading)
        times(f"warn(), {CANDIDATES:,} of {number:,} fire : index scan of them", pairs, Goal(), rows=CANDIDATES)
        pairs = alternate(given.rounds, scanning_again, reading)
        times(f"warn() again, nothing fires, of {number:,} : index scan", pairs, Goal(), rows=CANDIDATES)
        forget()
        with CaptureQueriesContext(connection) as queries:
            _scan(CANDIDATES)
        print(f"  {len(queries)} statements for {CANDIDATES:,} that fire")


if __name__ == "__main__":
    run(options(__doc__))
