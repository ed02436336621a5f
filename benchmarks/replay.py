"""The trial of a limit on a million uses against reading them: the same columns, in the same order, by values_list.

The limits: one for everybody, counted by the day of the calendar; one for a tier, rolling, with rules beside it and
some uses refunded; one of a pool whose members made a tenth of the uses.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import uuid4

from benchmarks.harness import (
    USAGE,
    Goal,
    Options,
    add_users,
    alternate,
    database,
    execute,
    filling,
    options,
    peak_memory,
    seconds,
    settle_down,
    times,
    users,
)
from django_token_pricing import jobs, tokens
from django_token_pricing.models import Job, LedgerEntry, TokenAccount, TokenPool, TokenUsageLog
from django_token_pricing.tokens.limits import changes, rules

DAYS = 30
COLUMNS = ("pk", "account", "used_at", "amount", "model", "feature", "tier", "member_of")


def add_usage(number: int, accounts: int) -> TokenPool:
    """Uses over thirty days; the first tenth of the accounts is in a pool, every third one has a tier."""
    add_users(accounts)
    pool = TokenPool.objects.create(name="pool")
    tokens.grant_many([tokens.GrantRow(owner, 10**9) for owner in [*users(), pool]], source="plan")
    shared = TokenAccount.objects.get(pool=pool).pk
    with filling(USAGE):
        execute(
            f"""
            INSERT INTO {USAGE} (account_id, member_of_id, amount, is_charged, used_at, booked_at, tier, key, provider,
                model, feature, metadata)
            SELECT a.pk, CASE WHEN a.place <= %s THEN %s END, 1 + n %% 50, true, at, at,
                CASE WHEN a.place %% 3 = 0 THEN 'pro' ELSE '' END, '', '', 'm' || n %% 5, 'f' || n %% 3, '{{}}'
            FROM (SELECT n, 1 + n %% %s AS place, now() - random() * interval '30 days' AS at
                FROM generate_series(1, %s) n) u
            JOIN (SELECT id AS pk, row_number() OVER (ORDER BY id) AS place
                FROM django_token_pricing_tokenaccount WHERE pool_id IS NULL) a ON a.place = u.place
            """,
            [accounts // 10, shared, accounts, number],
        )
    settle_down()
    return pool


def trial(terms: dict[str, Any]) -> float:
    values = changes.terms(rules.draft(**terms))
    job = tokens.ask_replay(values, days=DAYS, actor=None, key=uuid4())
    took = seconds(lambda: jobs.work(job.pk))
    result = Job.objects.get(pk=job.pk).result
    print(f"  {result['uses']:,} uses, {result['refused']:,} refused, of {result['accounts_refused']:,} accounts")
    return took


def reading(**chosen: Any) -> float:
    rows = TokenUsageLog.objects.filter(is_charged=True, **chosen)
    order = ("used_at", "pk") if "member_of" in chosen else ("account_id", "used_at", "pk")

    def read() -> None:
        for _row in rows.order_by(*order).values_list(*COLUMNS).iterator():
            pass

    return seconds(read)


def refund_some(number: int) -> None:
    """As rows: what refunding each by its verb writes here."""
    execute(
        """
        INSERT INTO django_token_pricing_ledgerentry (account_id, allocation_id, kind, amount, lot_balance,
            balance_after, booked_at, usage_id)
        SELECT u.account_id, l.id, 'refund', 1, 0, 0, u.used_at + interval '1 minute' + u.id * interval '1 us', u.id
        FROM (SELECT * FROM django_token_pricing_tokenusagelog ORDER BY id LIMIT %s) u
        JOIN django_token_pricing_tokenallocation l ON l.account_id = u.account_id
        """,
        [number],
    )
    settle_down()
    print(f"  {LedgerEntry.objects.filter(kind='refund').count():,} uses refunded in part")


def run(given: Options) -> None:
    number, accounts = (50_000, 500) if given.quick else (1_000_000, 10_000)
    goal = Goal(3, 2, low=True)
    with database():
        pool = add_usage(number, accounts)
        before = peak_memory()
        day = {"scope": "default", "window": "day", "limit": 60}
        pairs = alternate(given.rounds, partial(trial, day), reading)
        times(f"trial of a daily limit on {number:,} uses : reading them", pairs, goal, rows=number)
        terms = {"metric": "requests", "window": "week", "alignment": "rolling", "mode": "throttle", "limit": 3}
        pairs = alternate(
            given.rounds,
            partial(trial, {"scope": "pool", "pool": pool, **terms}),
            lambda: reading(member_of=TokenAccount.objects.get(pool=pool)),
        )
        times("trial of a pool's rolling limit : reading its uses", pairs, goal, rows=number // 10)
        refund_some(number // 100)
        rules.set_limit(
            scope="user", user=users(1)[0], metric="requests", window="week", limit=1, reason="r", actor=None
        )
        pairs = alternate(given.rounds, partial(trial, {"scope": "default", "model": "m1", **terms}), reading)
        times(f"trial of a rolling limit among others on {number:,} uses : reading them", pairs, goal, rows=number)
        print(f"  peak memory of the process: {before:.0f} MB before, {peak_memory():.0f} MB after")


if __name__ == "__main__":
    run(options(__doc__))
