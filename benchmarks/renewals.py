"""Renewal of 100,000 and 1 M due subscriptions against bare INSERT..SELECT and UPDATE of the same rows.

The bare rows go into copies of the tables with all their checks, indexes and foreign keys: lots, entries, keys,
periods, the renewals' own rows, moved on, and the accounts' balances. Nothing is locked, decided or looked up for
them, and nobody keeps them from being granted twice.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import partial

from django.db import transaction

from benchmarks.harness import (
    ACCOUNT,
    ENTRY,
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
    times,
)
from django_token_pricing.automation import renewals
from django_token_pricing.automation.renewals import due
from django_token_pricing.models import RenewalPolicy

MIRROR = "django_token_pricing_subscriptionmirror"
RENEWAL = "django_token_pricing_renewal"
PERIOD = "django_token_pricing_renewalperiod"
RENEWED = "django_token_pricing_renewallot"
JOB, ROW = "django_token_pricing_job", "django_token_pricing_jobrow"
OURS = {"lot": LOT, "entry": ENTRY, "account": ACCOUNT, "key": KEY, "renewal": RENEWAL}
OURS |= {"period": PERIOD, "renewed": RENEWED}
BARE = {name: f"bare.{name}" for name in OURS}
START = datetime(2025, 10, 31, 10, tzinfo=timezone.utc)
END = datetime(2025, 11, 30, 10, tzinfo=timezone.utc)
NEXT = datetime(2025, 12, 31, 10, tzinfo=timezone.utc)

STANDING = """
    INSERT INTO {renewal} (subscription_id, policy_id, state, anchor_at, host_anchor_at, time_zone, quantity, number,
        period_starts_at, period_ends_at, granted, changes, due_at, tries, problem, changed_at)
    SELECT id, (SELECT id FROM django_token_pricing_renewalpolicy), 'active', '2025-08-31 10:00Z', '2025-08-31 10:00Z',
        'UTC', 1, 2, '2025-10-31 10:00Z', '2025-11-30 10:00Z', 1000, 0, '2025-11-30 10:00Z', 0, '', now()
    FROM django_token_pricing_subscriptionmirror WHERE id <= {number}
"""
OLD_LOTS = """
    WITH lots AS (
        INSERT INTO {lot} (account_id, source, amount, remaining, is_open, priority, starts_at, expires_at, booked_at,
            paid_currency, key)
        SELECT a.id, 'plan', 1000, 1000, true, 100, '2025-10-31 10:00Z', '2025-11-30 10:00Z', '2025-10-31 10:00Z',
            '', '' FROM {account} a WHERE a.id <= {number} RETURNING id, account_id, booked_at
    ), renewed AS (
        INSERT INTO {renewed} (allocation_id, subscription_id, period_starts_at, expires_at, times)
        SELECT l.id, m.id, '2025-10-31 10:00Z', '2025-11-30 10:00Z', 0 FROM lots l
        JOIN django_token_pricing_tokenaccount a ON a.id = l.account_id
        JOIN django_token_pricing_subscriptionmirror m ON m.user_id = a.user_id
    ), moved AS (
        UPDATE {account} a SET balance = 1000, booked_at = l.booked_at FROM lots l WHERE a.id = l.account_id)
    INSERT INTO {entry} (account_id, allocation_id, kind, amount, lot_balance, balance_after, booked_at)
    SELECT account_id, id, 'grant', 1000, 1000, 1000, booked_at FROM lots
"""
GRANT = """
    WITH due AS MATERIALIZED (
        SELECT r.subscription_id AS sub, a.id AS account, r.policy_id AS policy FROM bare.renewal r
        JOIN django_token_pricing_subscriptionmirror m ON m.id = r.subscription_id
        JOIN bare.account a ON a.user_id = m.user_id WHERE r.due_at <= '2025-11-30 10:00Z'
    ), lots AS (
        INSERT INTO bare.lot (account_id, source, amount, remaining, is_open, priority, starts_at, expires_at,
            booked_at, paid_currency, key)
        SELECT account, 'plan', 1000, 1000, true, 100, '2025-11-30 10:00Z', '2025-12-31 10:00Z', now(), '',
            'renewal:' || sub || ':2025-11-30T10:00:00+00:00' FROM due
        RETURNING id, account_id, key
    ), keys AS (
        INSERT INTO bare.key (digest, verb, account_id, amount, detail, booked_at)
        SELECT gen_random_uuid(), 'grant', account_id, 1000, 'plan', now() FROM lots
    ), entries AS (
        INSERT INTO bare.entry (account_id, allocation_id, kind, amount, lot_balance, balance_after, booked_at)
        SELECT account_id, id, 'grant', 1000, 1000, 1000, now() FROM lots
    ), renewed AS (
        INSERT INTO bare.renewed (allocation_id, subscription_id, period_starts_at, expires_at, times)
        SELECT l.id, d.sub, '2025-11-30 10:00Z', '2025-12-31 10:00Z', 0
        FROM lots l JOIN due d ON d.account = l.account_id
    ), periods AS (
        INSERT INTO bare.period (subscription_id, policy_id, starts_at, ends_at, outcome, tokens, carried, decided_at)
        SELECT sub, policy, '2025-11-30 10:00Z', '2025-12-31 10:00Z', 'granted', 1000, 0, now() FROM due
    ), accounts AS (
        UPDATE bare.account a SET balance = balance + 1000, booked_at = now() FROM due d WHERE a.id = d.account
    )
    UPDATE bare.renewal r SET number = number + 1, period_starts_at = '2025-11-30 10:00Z',
        period_ends_at = '2025-12-31 10:00Z', due_at = '2025-12-31 10:00Z', changed_at = now()
    FROM due d WHERE r.subscription_id = d.sub
"""
CARRY = """
    WITH old AS MATERIALIZED (
        SELECT l.id, l.account_id, l.remaining, w.subscription_id AS sub FROM bare.lot l
        JOIN bare.renewed w ON w.allocation_id = l.id WHERE l.expires_at = '2025-11-30 10:00Z'
    ), lots AS (
        INSERT INTO bare.lot (account_id, source, amount, remaining, is_open, priority, starts_at, expires_at,
            booked_at, paid_currency, key, parent_id)
        SELECT account_id, 'rollover', remaining, remaining, true, 100, '2025-11-30 10:00Z', '2025-12-31 10:00Z', now(),
            '', '', id FROM old RETURNING id, account_id, amount, parent_id
    ), entries AS (
        INSERT INTO bare.entry (account_id, allocation_id, kind, amount, lot_balance, balance_after, booked_at)
        SELECT account_id, parent_id, 'rollover_out', -amount, 0, 0, now() FROM lots
        UNION ALL SELECT account_id, id, 'rollover_in', amount, amount, amount, now() FROM lots
    ), renewed AS (
        INSERT INTO bare.renewed (allocation_id, subscription_id, period_starts_at, expires_at, times)
        SELECT l.id, o.sub, '2025-11-30 10:00Z', '2025-12-31 10:00Z', 1 FROM lots l JOIN old o ON o.id = l.parent_id
    ), moved AS (
        UPDATE bare.account a SET booked_at = now() FROM lots l WHERE a.id = l.account_id
    )
    UPDATE bare.lot l SET remaining = 0, is_open = false FROM old o WHERE o.id = l.id
"""


def prepare(tables: dict[str, str], number: int, *, carries: bool) -> None:
    """Everybody's period has just ended, and a thousand tokens are left of it: carried over, or lapsed."""
    execute("TRUNCATE {lot}, {entry}, {key}, {renewal}, {period}, {renewed} CASCADE".format(**tables))
    execute(f"TRUNCATE {JOB}, {ROW} CASCADE")
    RenewalPolicy.objects.update(rollover="all" if carries else "none")
    execute("UPDATE {account} SET balance = 0".format(**tables))
    execute(f"UPDATE {MIRROR} SET status = CASE WHEN id <= {number} THEN 'active' ELSE 'canceled' END")
    execute(STANDING.format(number=number, **tables))
    execute(OLD_LOTS.format(number=number, **tables))
    settle_down()


def renewing(number: int, *, carries: bool) -> float:
    prepare(OURS, number, carries=carries)

    def call() -> None:
        job = renewals.start(as_of=END, now=True)
        assert job is not None
        assert job.done == number, (job.status, job.done, job.problem)

    return seconds(call)


def inserting(number: int, *, carries: bool) -> float:
    prepare(BARE, number, carries=carries)

    def call() -> None:
        with transaction.atomic():
            if carries:
                execute(CARRY)
            execute(GRANT)

    return seconds(call)


def run(given: Options) -> None:
    some, all_of_them = (5_000, 10_000) if given.quick else (100_000, 1_000_000)
    with database():
        add_users(all_of_them)
        execute(f"INSERT INTO {ACCOUNT} (user_id, tier, balance, created_at) SELECT id, '', 0, now() FROM auth_user")
        RenewalPolicy.objects.create(code="pro", tokens=1_000, starts_at=START - timedelta(days=1_000))
        execute(
            f"INSERT INTO {MIRROR} (external_ref, user_id, currency, occurred_at, synced_at, plan_code, tier,"
            " price_ref, status, anchor_at, region, time_zone, quantity)"
            " SELECT 'sub-' || id, id, 'EUR', now(), now(), 'pro', '', '', 'active', '2025-08-31 10:00Z', '', 'UTC', 1"
            " FROM auth_user"
        )
        bare_copy(ACCOUNT, "account", storage="WITH (fillfactor = 70)")
        execute(f"INSERT INTO bare.account SELECT * FROM {ACCOUNT}")
        instead = {LOT: "bare.lot", ACCOUNT: "bare.account"}
        bare_copy(LOT, "lot", storage="WITH (fillfactor = 70)", instead=instead)
        for table, name in (
            (ENTRY, "entry"),
            (KEY, "key"),
            (RENEWAL, "renewal"),
            (PERIOD, "period"),
            (RENEWED, "renewed"),
        ):
            bare_copy(table, name, instead=instead)
        for carries in (False, True):
            title = f"renewal of {some:,}{', all carried over' if carries else ''} : INSERT..SELECT + UPDATE"
            ours, bare = partial(renewing, some, carries=carries), partial(inserting, some, carries=carries)
            times(title, alternate(given.rounds, ours, bare), Goal(3, 2, low=True), rows=some)
        prepare(OURS, all_of_them, carries=False)
        before = peak_memory()
        pairs = [(renewing(all_of_them, carries=False), renewing(some, carries=False) * all_of_them / some)]
        times(f"renewal of {all_of_them:,} : as many times {some:,}", pairs, Goal(1.3, 1.1, low=True), rows=all_of_them)
        print(f"  peak memory of the process: {before:.0f} MB before, {peak_memory():.0f} MB after")
        prepare(OURS, all_of_them, carries=False)
        looking = seconds(lambda: due.subscriptions(START, "default").exists())
        print(f"  to see that nothing is due among {all_of_them:,}: {looking:.2f} s")


if __name__ == "__main__":
    run(options(__doc__))
