"""Roll-ups at 10 M uses of 1 M accounts: what a fold costs beside the append, what dashboards save, what debits pay.

The raw yardsticks read the same rows through b-trees on (used_at) and (account, used_at), warm. Pages are asked for as
the admin serves them; their time is that of all their queries.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import Sum
from django.test import Client
from django.test.utils import setup_test_environment
from django.urls import reverse
from django.utils import timezone

from benchmarks.calls import consume
from benchmarks.changelists import sql_time
from benchmarks.harness import (
    ACCOUNT,
    USAGE,
    Goal,
    Options,
    add_accounts,
    add_users,
    by_turns,
    crew,
    database,
    execute,
    filling,
    options,
    rates,
    ratio,
    seconds,
    settle_down,
    times,
)
from django_token_pricing import analytics
from django_token_pricing.models import AccountMonth, UsageDay

DAYS = 180
# As many as the yardsticks in the reference were taken with; the others have tokens and use none.
ACTIVE = 20_000
# Of session and person, which every page of the admin asks for.
SESSION = 2
APPEND = f"""
    INSERT INTO {USAGE} (account_id, amount, is_charged, used_at, booked_at, provider, model, feature, input_tokens,
        output_tokens, cached_tokens, metadata, tier, key)
    SELECT 1 + (%s * power(n * 7919 %% 1000003 / 1000003.0, 3))::bigint, 1 + n %% 50, false, at, at, '',
        'model ' || n %% 6, 'feature ' || n %% 5, n %% 900, n %% 90, n %% 50, '{{}}',
        (ARRAY['free', 'pro', 'team', 'scale'])[1 + n %% 4], ''
    FROM (SELECT n, now() - interval '1 day' * %s * (1 - (n - %s)::float / %s) AS at
          FROM generate_series(%s::bigint, %s::bigint - 1) n) uses
"""
MEASURE = "sum(amount), sum(input_tokens), sum(output_tokens)"


def append(first: int, number: int, days: float, active: int = ACTIVE) -> float:
    """Uses of the last days; a few of the active accounts have most of them."""
    return seconds(lambda: execute(APPEND, [active - 1, days, first, number, first, first + number]))


def prepare(accounts: int) -> None:
    add_users(accounts)
    execute(
        f"INSERT INTO {ACCOUNT} (user_id, tier, balance, created_at)"
        " SELECT id, 'pro', 0, now() FROM auth_user ORDER BY id"
    )
    execute(
        "INSERT INTO django_token_pricing_modelprice (provider, model, starts_at, input, output, cached_read, source,"
        " created_at)"
        " SELECT '', 'model ' || n, '2020-01-01', 2.5, 10, 1.25, 'manual', now() FROM generate_series(0, 4) n"
    )


def fill(first: int, uses: int) -> None:
    before = time.perf_counter()
    with filling(USAGE):
        append(first, uses, DAYS)
    settle_down()
    print(f"{uses:,} more uses made in {time.perf_counter() - before:.0f} s")
    print(f"  the fold of them: {seconds(analytics.fold):.1f} s", flush=True)


def folding(uses: int, accounts: int, given: Options) -> None:
    """Each round appends a tenth as many again, as of a tenth of the days, with all indexes, and folds it."""
    fresh = uses // 10
    found = []
    for number in range(given.rounds):
        appended = append(uses + number * fresh, fresh, DAYS / 10)
        folded = seconds(analytics.fold)
        found.append(folded / appended)
        print(f"  append {appended:.2f} s, fold {folded:.2f} s")
    ratio(f"fold of {fresh:,} new uses : appending them", found, Goal(0.15, 0.08, low=True))
    # The worst there is: hardly an account comes twice, so each use writes a row of an account's month.
    appended = append(uses + given.rounds * fresh, fresh, DAYS / 10, active=accounts)
    ratio("the same with uses spread over all accounts", [seconds(analytics.fold) / appended], Goal(low=True))


def median_of(call: Callable[[], Any]) -> float:
    call()
    return sorted(seconds(call) for _ in range(3))[1]


def reading(given: Options) -> None:
    today = timezone.now().date()
    since = today - timedelta(days=30)
    month = today.replace(day=1) - timedelta(days=1)
    first = month.replace(day=1)

    def raw(sql: str, *params: Any) -> Callable[[], Any]:
        def call() -> Any:
            with connection.cursor() as cursor:
                cursor.execute(sql, params)
                return cursor.fetchall()

        return call

    def ours(rows: Any) -> Callable[[], Any]:
        return lambda: list(rows.all())

    days = UsageDay.objects.filter(day__gte=since).order_by().values("day", "model")
    site = days.annotate(n=Sum("tokens"), i=Sum("input_tokens"), o=Sum("output_tokens"))
    raw_site = raw(
        f"SELECT (used_at AT TIME ZONE 'UTC')::date, model, {MEASURE} FROM {USAGE} WHERE used_at >= %s GROUP BY 1, 2",
        since,
    )
    top = AccountMonth.objects.filter(month=first).order_by("-tokens").values_list("account", "tokens")[:20]
    raw_top = raw(
        f"SELECT account_id, sum(amount) FROM {USAGE} WHERE used_at >= %s AND used_at < %s GROUP BY 1 ORDER BY 2 DESC"
        " LIMIT 20",
        first,
        first + timedelta(days=30),
    )
    for title, slow, fast, goal in (
        ("30 days by model, raw b-tree : roll-up", raw_site, ours(site), Goal(50, 100)),
        ("top 20 accounts of a month, raw : roll-up", raw_top, ours(top), Goal(20, 100)),
    ):
        found = [(median_of(slow), median_of(fast)) for _ in range(given.rounds)]
        ratio(title, [a / b for a, b in found], goal, f"({found[0][0] * 1e3:.1f} : {found[0][1] * 1e3:.2f} ms)")


def boss() -> Client:
    user = get_user_model().objects.order_by("pk")[0]
    user.is_staff = user.is_superuser = True
    user.save()
    client = Client()
    client.force_login(user)
    return client


def overview(client: Client) -> float:
    """Seconds of SQL, the median of five; asserts how many queries it takes."""

    def page() -> None:
        assert client.get(reverse("admin:django_token_pricing_usageday_changelist")).status_code == 200

    sql_time(page)
    found = sorted(sql_time(page) for _ in range(5))
    taken, asked = found[2]
    print(f"  overview: {taken * 1e3:.1f} ms in {asked} queries")
    assert asked <= 15 + SESSION, asked
    return taken


def polling(client: Client, given: Options) -> None:
    newest = f"SELECT used_at, booked_at, amount, model, feature, account_id FROM {USAGE} ORDER BY id DESC LIMIT 2000"

    def probe() -> None:
        with connection.cursor() as cursor:
            cursor.execute(newest)
            cursor.fetchall()

    def poll() -> None:
        assert client.get(reverse("admin:django_token_pricing_usageday_pulse")).status_code == 200

    for call in (poll, probe):
        sql_time(call)
    pairs = [(sql_time(poll)[0], sql_time(probe)[0]) for _ in range(max(5, given.rounds))]
    times("a live poll : an index probe of the same rows", pairs, Goal(3, low=True))


def debiting(given: Options) -> None:
    """Consume in two processes while a fold runs every second, and while none does."""
    add_accounts(2_000, lots=3)
    stop, folds = threading.Event(), threading.Event()

    def work() -> None:
        while not stop.wait(1):
            if folds.is_set():
                analytics.fold()
        connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        with crew(2) as processes:

            def run(length: float, *, on: bool) -> Any:
                (folds.set if on else folds.clear)()
                return processes.repeat(consume, length, accounts=2_000)

            pairs = by_turns(given, lambda length: run(length, on=True), lambda length: run(length, on=False))
        rates("consume with a fold each second : without", pairs, Goal(0.95, 1.0))
    finally:
        stop.set()
        worker.join()


def run(given: Options) -> None:
    accounts, uses = (20_000, 100_000) if given.quick else (1_000_000, 10_000_000)
    with database():
        prepare(accounts)
        setup_test_environment()
        client = boss()
        fill(0, uses // 10)
        few = overview(client)
        fill(uses // 10, uses - uses // 10)
        many = overview(client)
        ratio(f"overview at {uses:,} uses : at {uses // 10:,}", [many / few], Goal(1.3, low=True))
        polling(client, given)
        folding(uses, accounts, given)
        print(f"made anew: {seconds(analytics.rebuild):.1f} s; compared: {seconds(analytics.verify):.1f} s", flush=True)
        print(f"rows: {UsageDay.objects.count():,} days, {AccountMonth.objects.count():,} account months")
        execute(f"CREATE INDEX bare_used_at ON {USAGE} (used_at)")
        settle_down()
        reading(given)
        execute("DROP INDEX bare_used_at")
    with database():
        debiting(given)


if __name__ == "__main__":
    run(options(__doc__))
