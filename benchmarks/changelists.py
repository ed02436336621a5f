"""Lists of the admin at 1 M accounts and 10 M uses: SQL time of the first page against a bare keyset page.

The bare page is one query: the newest fifty rows of the table by primary key, with all columns that the list shows of
tables. Ours is all that the admin asks for one request: session, person, count, keys, rows, live balances.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import setup_test_environment
from django.urls import reverse
from django.utils import timezone

from benchmarks.harness import (
    ACCOUNT,
    ENTRY,
    EVENT,
    LOT,
    USAGE,
    Goal,
    Options,
    add_users,
    alternate,
    database,
    execute,
    filling,
    options,
    ratio,
    seconds,
    settle_down,
    times,
)
from django_token_pricing import tokens
from django_token_pricing.models import AuditEvent, LedgerEntry, TokenAccount, TokenAllocation, TokenUsageLog

POOL = "django_token_pricing_tokenpool"
MEMBER = "django_token_pricing_poolmember"
POOLS, MEMBERS = 100, 10_000
MOST_QUERIES = 12


def fill(accounts: int, uses: int) -> None:
    """Accounts of four tiers, one with a single account; a tenth is empty, a twentieth low, a fifth never used.

    A thousand accounts have a tenth of all uses. Each use has its entry.
    """
    add_users(accounts)
    execute(
        f"INSERT INTO {POOL} (name, is_active, created_at)"
        f" SELECT 'Pool ' || n, true, now() FROM generate_series(1, {POOLS}) n"
    )
    with filling(ACCOUNT):
        execute(
            f"INSERT INTO {ACCOUNT} (pool_id, tier, balance, created_at)"
            f" SELECT id, '', 0, now() FROM {POOL} ORDER BY id"
        )
        execute(
            f"""
            INSERT INTO {ACCOUNT} (user_id, tier, balance, booked_at, created_at)
            SELECT n, CASE WHEN n = %s THEN 'pilot' WHEN n %% 20 = 0 THEN '' WHEN n %% 20 = 1 THEN 'team'
                WHEN n %% 100 = 2 THEN 'business' ELSE 'starter' END, 0, now(), now()
            FROM generate_series(1, %s) n
            """,
            [accounts // 2, accounts],
        )
    with filling(LOT):
        execute(
            f"""
            INSERT INTO {LOT} (account_id, source, amount, remaining, is_open, priority, starts_at, expires_at,
                booked_at, paid_currency, key)
            SELECT id, 'plan', size, free, free > 0, 100, since, since + interval '31 days',
                since, '', ''
            FROM (
                SELECT id, size, now() - interval '1 day' - (id % 30) * interval '1 day' since,
                    CASE WHEN id % 10 = 0 THEN 0 WHEN id % 20 = 3 THEN size / 20
                        ELSE size / 5 + id * 7919 % (size * 4 / 5) END free
                FROM (SELECT id, CASE tier WHEN 'business' THEN 100000 WHEN 'team' THEN 10000 ELSE 1000 END size
                    FROM {ACCOUNT}) sizes
            ) lots ORDER BY id
            """
        )
        execute(
            f"""
            INSERT INTO {LOT} (account_id, source, amount, remaining, is_open, priority, starts_at, expires_at,
                booked_at, paid_currency, key)
            SELECT id, 'purchase', 5000, 1 + id * 31 % 5000, true, 100, now() - interval '100 days', NULL,
                now() - interval '100 days', '', ''
            FROM {ACCOUNT} WHERE id % 10 IN (1, 4, 7) ORDER BY id
            """
        )
    with filling(USAGE):
        execute(
            f"""
            INSERT INTO {USAGE} (account_id, amount, is_charged, used_at, booked_at, provider, model, feature,
                input_tokens, output_tokens, cost, metadata, tier, key)
            SELECT CASE WHEN account %% 5 = 0 THEN account - 1 ELSE account END + {POOLS}, 1 + n %% 50, true, at, at,
                '', 'model ' || n %% 7, 'feature ' || n %% 11, 100, 20, 0.01, '{{}}', 'starter', 'use-' || n
            FROM (
                SELECT n, now() - (%s - n) * (interval '90 days' / %s) AS at,
                    CASE WHEN n %% 10 = 0 THEN 1 + n / 10 %% 1000 ELSE 1 + n * 7919 %% %s END account
                FROM generate_series(1::bigint, %s) n
            ) uses
            """,
            [uses, uses, accounts, uses],
        )
    with filling(ENTRY):
        execute(
            f"""
            INSERT INTO {ENTRY} (account_id, allocation_id, kind, amount, lot_balance, balance_after, booked_at)
            SELECT account_id, id, 'grant', amount, amount, amount, booked_at FROM {LOT} ORDER BY booked_at
            """
        )
        execute(
            f"""
            INSERT INTO {ENTRY} (account_id, allocation_id, kind, amount, lot_balance, balance_after, booked_at,
                usage_id)
            SELECT account_id, account_id, 'consume', -amount, 0, 0, booked_at, id FROM {USAGE} ORDER BY id
            """
        )
    with filling(EVENT):
        execute(
            f"""
            INSERT INTO {EVENT} (at, action, actor_id, actor_label, target_type, target_id, target_label, reason,
                changes, count)
            SELECT now() - (%s - n) * interval '10 seconds', 'tokens.grant', 1 + n %% 20, 'somebody',
                'django_token_pricing.tokenaccount', n::text, 'somebody', 'Goodwill', '{{}}', 1
            FROM generate_series(1, %s) n
            """,
            [accounts, accounts],
        )
    execute(
        f"""
        INSERT INTO {MEMBER} (pool_id, user_id, joined_at)
        SELECT CASE WHEN n <= %s THEN 1 ELSE 2 + n %% 99 END, 1 + n * 37 %% %s, now()
        FROM generate_series(1, %s) n
        """,
        [min(MEMBERS, accounts // 20), accounts, accounts // 10],
    )
    settle_down()


# Pages ----------------------------------------------------------------------------------------------------------------


def sql_time(call: Callable[[], Any]) -> tuple[float, int]:
    """Seconds that the call's queries take, and how many they are."""
    found: list[float] = []

    def timed(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        before = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            found.append(time.perf_counter() - before)

    with connection.execute_wrapper(timed):
        call()
    return sum(found), len(found)


def bare_page(model: type[Any]) -> Callable[[], None]:
    shown = admin.site.get_model_admin(model).described(model.objects.order_by("-pk"))[:50]
    sql, params = shown.query.sql_with_params()

    def call() -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            cursor.fetchall()

    return call


def compare(client: Client, title: str, model: type[Any], query: dict[str, Any], goal: Goal) -> None:
    url = reverse(f"admin:django_token_pricing_{model._meta.model_name}_changelist")
    bare = bare_page(model)

    def page() -> None:
        response = client.get(url, query)
        assert response.status_code == 200
        assert response.context["cl"].result_count, title

    for call in (page, bare):
        sql_time(call)
    pairs = alternate(5, lambda: sql_time(page)[0], lambda: statistics.median(sql_time(bare)[0] for _ in range(5)))
    asked = sql_time(page)[1]
    times(f"{title} ({asked} queries)", pairs, goal)
    assert asked <= MOST_QUERIES, asked


def order_of(client: Client, column: str, direction: str = "") -> str:
    """What a click on the column's heading sends."""
    found = client.get(reverse("admin:django_token_pricing_tokenaccount_changelist")).context["cl"]
    return f"{direction}{found.list_display.index(column)}"


def run(given: Options) -> None:
    accounts, uses = (20_000, 200_000) if given.quick else (1_000_000, 10_000_000)
    with database():
        fill(accounts, uses)
        full, unchanged = seconds(tokens.refresh_summaries), seconds(tokens.refresh_summaries)
        print(f"  all summaries are made in {full:,.0f} s; looked through without a change in {unchanged:,.0f} s")
        ratio("a refresh without changes : the first", [unchanged / full], Goal())
        settle_down()
        boss = get_user_model().objects.all()[0]
        boss.is_staff = boss.is_superuser = True
        boss.save()
        setup_test_environment()
        client = Client()
        client.force_login(boss)
        order = partial(order_of, client)
        week = {"from": (timezone.localdate() - timedelta(days=6)).isoformat()}
        goal = Goal(10, 4, low=True)
        pages: list[tuple[str, type[Any], dict[str, Any], Goal]] = [
            ("accounts", TokenAccount, {}, goal),
            ("accounts by available, falling", TokenAccount, {"o": order("available", "-")}, goal),
            ("accounts by last use, falling", TokenAccount, {"o": order("last_use", "-")}, goal),
            ("accounts by next expiry, rising", TokenAccount, {"o": order("next_expiry")}, goal),
            ("low accounts", TokenAccount, {"state": "low"}, goal),
            ("low accounts by last use", TokenAccount, {"state": "low", "o": order("last_use", "-")}, goal),
            ("empty accounts never used", TokenAccount, {"state": "empty", "used": "never"}, goal),
            ("never used, by available", TokenAccount, {"used": "never", "o": order("available", "-")}, goal),
            ("a tier of nearly all, by use", TokenAccount, {"tier": "starter", "o": order("used_month", "-")}, goal),
            ("a tier of one account, by use", TokenAccount, {"tier": "pilot", "o": order("used_month", "-")}, goal),
            ("expiring soon", TokenAccount, {"expiring": "soon"}, goal),
            ("users' accounts that are low", TokenAccount, {"owner": "user", "state": "low"}, goal),
            ("accounts by the beginning of a login", TokenAccount, {"q": f"user{accounts // 100}"}, goal),
            ("members of a large pool", TokenAccount, {"member_of": 1}, goal),
            ("entries", LedgerEntry, {}, goal),
            ("uses", TokenUsageLog, {}, goal),
            ("uses of 7 days", TokenUsageLog, week, goal),
            ("allocations", TokenAllocation, {}, goal),
            ("audit", AuditEvent, {}, goal),
            # What no index serves alone.
            ("a tier of few, by use", TokenAccount, {"tier": "business", "o": order("used_month")}, Goal()),
            ("expiring, by available", TokenAccount, {"expiring": "soon", "o": order("available", "-")}, Goal()),
            ("members, by available", TokenAccount, {"member_of": 1, "o": order("available", "-")}, Goal()),
        ]
        for title, model, query, wanted in pages:
            compare(client, title, model, query, wanted)


if __name__ == "__main__":
    run(options(__doc__))
