"""A year of 10,000 subscriptions in seven zones, renewed by workers that are killed at random; figures, and the proof.

The ledger's clock is moved with the year: each connection reads `clock_timestamp()` from a schema of ours, so what is
booked is booked in that year. Each step says by `as_of` what is due. Then every subscription's periods are compared
with what the calendar says, the lots with the periods, the warnings of expiry with what expired, and the books with
themselves.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from django.db import connection
from django.utils import timezone as timezone_of_site

from benchmarks.harness import ACCOUNT, Options, add_users, database, execute, options
from django_token_pricing import jobs, notifications, tokens
from django_token_pricing.automation import renewals
from django_token_pricing.automation.renewals import runs
from django_token_pricing.jobs import leases
from django_token_pricing.lib.periods import Calendar
from django_token_pricing.models import (
    Job,
    LedgerEntry,
    Notification,
    RenewalLot,
    RenewalPeriod,
    RenewalPolicy,
    SubscriptionMirror,
    WarningRule,
)

ZONES = ["Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Asia/Kolkata", "Australia/Lord_Howe"]
ZONES += ["Pacific/Auckland", "UTC"]
FIRST, LAST = datetime(2023, 12, 29, tzinfo=timezone.utc), datetime(2025, 1, 2, tzinfo=timezone.utc)
STEP = timedelta(hours=12)
SHADOW = """
    CREATE SCHEMA tp_clock;
    CREATE FUNCTION tp_clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
        'SELECT current_setting(''tp_clock.now'')::timestamptz';
"""


def set_clock(moment: datetime) -> dict[str, str]:
    """For this connection; answers the environment in which a process has the same."""
    execute("SELECT set_config('search_path', 'tp_clock, pg_catalog, public', false)")
    execute("SELECT set_config('tp_clock.now', %s, false)", [moment.isoformat()])
    shown = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"PGOPTIONS": f"-c search_path=tp_clock,pg_catalog,public -c tp_clock.now={shown}"}


def subscribe(number: int, chance: random.Random) -> None:
    plans = {
        "monthly": {"rollover": "percent", "rollover_percent": 50, "rollover_cap": 800},
        "daily30": {"unit": "day", "count": 30, "rollover": "all", "rollover_periods": 2},
        "calendar": {"anchor": "calendar"},
        "yearly": {"unit": "year"},
    }
    for code, facts in plans.items():
        RenewalPolicy.objects.create(code=code, tokens=1_000, starts_at=FIRST - timedelta(days=1), **facts)
    add_users(number)
    rows = []
    for user in range(1, number + 1):
        zone = chance.choice(ZONES)
        # Month ends above all, at hours that clocks jump over too.
        day = chance.choice([29, 30, 31, 31, 31, chance.randint(1, 28)])
        start = datetime(2024, 1, day, chance.choice([0, 2, 10, 23]), 30, tzinfo=ZoneInfo(zone))
        if day == 29 and user % 2:
            start = start.replace(month=2)
        rows.append(
            SubscriptionMirror(
                external_ref=f"sub-{user}",
                user_id=user,
                plan_code=chance.choice(list(plans)),
                status="active",
                anchor_at=start,
                time_zone=zone,
                occurred_at=FIRST,
                synced_at=FIRST,
            )
        )
    SubscriptionMirror.objects.bulk_create(rows, batch_size=2_000)


def renew(moment: datetime, environment: dict[str, str], chance: random.Random, killed: Counter[str]) -> None:
    """Workers on the moment's job; some die in its midst, and the next one takes it over."""
    job = renewals.start(as_of=moment)
    if job is None:
        return
    deaths = chance.choice([0, 0, 1, 1, 2]) if job.pk % 6 == 0 else 0
    for _death in range(deaths):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.automation.worker", moment.isoformat(), "25"],
            env={
                **os.environ,
                **environment,
                "TP_DATABASE": "postgres",
                "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            },
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        for _line in range(chance.randint(1, 8)):
            process.stdout.readline()
        time.sleep(chance.random() * 0.05)
        is_at_work = process.poll() is None
        process.kill()
        process.communicate()
        killed["in its midst" if is_at_work else "too late"] += 1
        # As if its silence had lasted.
        Job.objects.filter(pk=job.pk).update(alive_at=moment - 2 * leases.SILENCE)
    jobs.work(job.pk)
    job.refresh_from_db()
    assert (job.status, job.failed) == ("done", 0), (job.status, job.failed, job.problem)


def spend(chance: random.Random, step: int, number: int) -> None:
    """Some use some of what there is."""
    chosen = SubscriptionMirror.objects.filter(pk__in=chance.sample(range(1, number + 1), 20)).select_related("user")
    for row in chosen:
        free = tokens.balance(row.user).available
        if free > 1:
            tokens.consume(row.user, chance.randint(1, free), key=f"{step}:{row.pk}")


def add_warnings() -> None:
    WarningRule.objects.create(kind="expired")
    WarningRule.objects.create(kind="low_tokens", tokens=100)
    # As if they had been there before the year began.
    WarningRule.objects.update(created_at=FIRST)


def expected(row: SubscriptionMirror, policy: RenewalPolicy, until: datetime) -> list[datetime]:
    calendar = Calendar(row.anchor_at, ZoneInfo(row.time_zone), policy.unit, policy.count, policy.anchor == "calendar")
    periods = list(calendar.between(-1, calendar.number_of(until)))
    # What is left of a month at its anchor may be over before the next step: then its tokens could not be used.
    seen_at = FIRST + -(-(row.anchor_at - FIRST) // STEP) * STEP
    return [period.starts_at for period in periods if period.number or period.ends_at > seen_at]


def prove(until: datetime) -> None:
    policies = {policy.code: policy for policy in RenewalPolicy.objects.all()}
    found: dict[int, list[tuple[datetime, str]]] = {}
    for pk, at, outcome in RenewalPeriod.objects.order_by("starts_at").values_list(
        "subscription", "starts_at", "outcome"
    ):
        found.setdefault(pk, []).append((at, outcome))
    wrong = 0
    for row in SubscriptionMirror.objects.all():
        due = expected(row, policies[row.plan_code], until)
        wrong += found.get(row.pk, []) != [(at, "granted") for at in due]
    lots = RenewalLot.objects.filter(times=0).values_list("subscription", "period_starts_at")
    twice = [place for place, count in Counter(lots).items() if count > 1]
    print(f"  periods granted: {RenewalPeriod.objects.count():,}; subscriptions with a wrong one: {wrong}")
    print(f"  lots of periods: {len(lots):,}; periods with two: {len(twice)}; carried lots: {carried():,}")
    differences = list(tokens.reconcile())
    print(f"  reconcile: {len(differences)} rows disagree {differences[:3]}")
    # Once for an account and a day of the site's zone on which tokens of it ended; midnight belongs to the day before.
    zone = timezone_of_site.get_default_timezone()
    ends = LedgerEntry.objects.filter(kind="expire").values_list("account", "allocation__expires_at")
    days = {(account, (at - timedelta(microseconds=1)).astimezone(zone).date()) for account, at in ends}
    told = Counter(Notification.objects.values_list("kind", flat=True))
    print(f"  warnings: {dict(told)}; accounts and days with an expiry: {len(days):,}")
    assert told["expired"] == len(days), (told, len(days))
    assert not wrong
    assert not twice
    assert not differences


def carried() -> int:
    return RenewalLot.objects.filter(times__gt=0).count()


def run(given: Options) -> None:
    chance = random.Random(4)
    killed: Counter[str] = Counter()
    with database():
        execute(SHADOW)
        number = 1_000 if given.quick else 10_000
        subscribe(number, chance)
        add_warnings()
        started, moment, step = time.perf_counter(), FIRST, 0
        while moment < LAST:
            environment = set_clock(moment)
            renew(moment, environment, chance, killed)
            if step % 4 == 0:
                spend(chance, step, number)
                tokens.expire(as_of=moment)
            if step % 14 == 0:
                tokens.refresh_summaries()
            if step % 4 == 2:
                notifications.warn(as_of=moment)
            moment, step = moment + STEP, step + 1
        notifications.warn(as_of=moment - STEP)
        execute("SELECT set_config('search_path', 'public', false)")
        print(
            f"  {step} steps, {Job.objects.filter(kind=runs.KIND).count()} runs, {sum(killed.values())} workers killed"
        )
        print(f"  of them {dict(killed)}; {time.perf_counter() - started:.0f} s; {ACCOUNT}: {connection.vendor}")
        prove(moment - STEP)


if __name__ == "__main__":
    run(options(__doc__))
