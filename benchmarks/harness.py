"""What every benchmark stands on: a database of its own, processes that repeat a call, pgbench, and ratios.

Absolute figures move with the machine and with what else runs on it. So each comparison alternates the two forms and
divides within a round; what counts is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import glob
import itertools
import multiprocessing
import os
import random
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection

from django_token_pricing import tokens

HERE = Path(__file__).resolve().parent
ACCOUNT = "django_token_pricing_tokenaccount"
LOT = "django_token_pricing_tokenallocation"
ENTRY = "django_token_pricing_ledgerentry"
USAGE = "django_token_pricing_tokenusagelog"
KEY = "django_token_pricing_idempotencykey"
EVENT = "django_token_pricing_auditevent"
PLENTY = 10**12


@dataclass(frozen=True, slots=True)
class Options:
    quick: bool
    rounds: int
    seconds: float


def options(description: str | None) -> Options:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small sizes and short rounds, to see that it runs")
    parser.add_argument("--rounds", type=int, default=3, help="how often the two forms alternate")
    parser.add_argument("--seconds", type=float, help="length of a throughput round; 8, or 2 with --quick")
    given = parser.parse_args()
    return Options(given.quick, given.rounds, given.seconds or (2 if given.quick else 8))


# The database ------------------------------------------------------------------------------------------------------


@contextmanager
def database() -> Iterator[None]:
    """A database with the real migrations, dropped afterwards."""
    name = settings.DATABASES["default"]["NAME"]
    with _server() as server:
        server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        server.execute(f'CREATE DATABASE "{name}"')
    try:
        call_command("migrate", verbosity=0)
        shown = {what: scalar(f"SHOW {what}") for what in ("server_version", "fsync", "synchronous_commit")}
        print(", ".join(f"{what} {value}" for what, value in shown.items()))
        if "off" in shown.values():
            print("Commits are not durable on this server: the ratios are not those of the goals.")
        print(f"a commit takes {commit_time() * 1e3:.2f} ms, the load is {os.getloadavg()[0]:.1f}", flush=True)
        yield
    finally:
        connection.close()
        with _server() as server:
            server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _server() -> psycopg.Connection[Any]:
    return psycopg.connect(os.environ["TP_POSTGRES_URL"], autocommit=True)


def scalar(sql: str, params: Any = None) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchone()[0]


def commit_time() -> float:
    """What the flush of one row costs here and now: the slower it is, the closer are the two forms of a debit."""
    execute("CREATE TABLE bare_commit (n int)")
    return statistics.median(seconds(lambda: execute("INSERT INTO bare_commit VALUES (1)")) for _ in range(50))


def execute(sql: str, params: Any = None) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return int(cursor.rowcount)


def add_users(number: int) -> None:
    execute(
        """
        INSERT INTO auth_user (username, first_name, last_name, email, password, is_superuser, is_staff, is_active,
            date_joined)
        SELECT 'user' || n, '', '', 'user' || n || '@example.com', '', false, false, true, now()
        FROM generate_series(1, %s) n
        """,
        [number],
    )
    execute("ANALYZE auth_user")


def add_accounts(number: int, *, lots: int = 3) -> None:
    """Users whose lots never run out within a benchmark."""
    add_users(number)
    for place in range(1, lots + 1):
        tokens.grant_many(
            get_user_model().objects.all(),
            PLENTY,
            source="plan",
            expires_at=time_from_now(days=10 * place),
        )
    add_history(min(number, 1_000))
    settle_down()


def add_history(number: int) -> None:
    """Some uses and holds, so that no table is empty when its statistics are taken.

    For a table that VACUUM or ANALYZE has seen empty, every session plans sequential scans, the checks of foreign keys
    among them, and keeps these plans while the table grows. In operation autovacuum soon makes them plan again.
    """
    for place, owner in enumerate(users(number)):
        tokens.consume(owner, 2, key=f"history-{place}", model="m1")
        if place % 2:
            tokens.hold(owner, 2, key=f"history-hold-{place}", model="m1").settle(1)


def settle_down() -> None:
    """Leave the work of preparing behind, so that it is not paid for in what is measured next."""
    execute("VACUUM ANALYZE")
    execute("CHECKPOINT")
    execute("SELECT pg_stat_reset()")


def time_from_now(*, days: int) -> Any:
    return scalar("SELECT clock_timestamp() + %s * interval '1 day'", [days])


@contextmanager
def filling(table: str) -> Iterator[None]:
    """Without indexes and foreign keys while millions of rows come in; they are made anew afterwards."""
    made = []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE conrelid = %s::regclass AND contype IN ('f', 'u')",
            [table],
        )
        for name, definition in cursor.fetchall():
            made.append(f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {definition}')
            cursor.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
        cursor.execute(
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
            " WHERE indrelid = %s::regclass AND NOT indisprimary",
            [table],
        )
        for name, definition in cursor.fetchall():
            made.append(definition)
            cursor.execute(f"DROP INDEX {name}")
    yield
    for statement in reversed(made):
        execute(statement)


def bare_copy(table: str, name: str, *, storage: str = "", instead: dict[str, str] | None = None) -> None:
    """An empty copy of a table with its columns, checks, indexes and foreign keys, for bare SQL to fill.

    The triggers are left out: none of them fires on what is compared.
    """
    execute("CREATE SCHEMA IF NOT EXISTS bare")
    execute(f"DROP TABLE IF EXISTS bare.{name} CASCADE")
    execute(f"CREATE TABLE bare.{name} (LIKE {table} INCLUDING ALL) {storage}")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'f'",
            [table],
        )
        for (definition,) in cursor.fetchall():
            for old, new in (instead or {}).items():
                definition = definition.replace(f"REFERENCES {old}(", f"REFERENCES {new}(")
            cursor.execute(f"ALTER TABLE bare.{name} ADD {definition}")


def hot_updates() -> None:
    """Which share of the updates of the rows that each debit writes needed no index entry."""
    time.sleep(1.2)  # the statistics of sessions that have gone idle arrive within a second
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
            " WHERE relname = ANY(%s) AND n_tup_upd > 0",
            [[ACCOUNT, LOT]],
        )
        for table, updates, hot in cursor.fetchall():
            print(f"  {table}: {hot / updates:.2%} of {updates:,} updates were heap-only")


# Rates -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls a second, and latencies in seconds."""

    per_second: float
    p50: float = 0
    p99: float = 0

    @classmethod
    def of(cls, latencies: list[float], seconds: float) -> Rate:
        if len(latencies) < 2:
            return cls(len(latencies) / seconds)
        cuts = statistics.quantiles(latencies, n=100)
        return cls(len(latencies) / seconds, cuts[49], cuts[98])


class Crew:
    """Processes that repeat a call, all at once.

    A call is given as the function that makes it: `make(place, **given)` runs once in each process.
    """

    def __init__(self, size: int) -> None:
        context = multiprocessing.get_context("spawn")
        # Kept, because the processes find it by a name that goes with it.
        self.gate = context.Barrier(size)
        self.pipes, self.processes = [], []
        for place in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, self.gate, place), daemon=True)
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)

    def repeat(self, make: Callable[..., Callable[[], Any]], seconds: float, **given: Any) -> Rate:
        for pipe in self.pipes:
            pipe.send((make, seconds, given))
        latencies: list[float] = []
        for pipe in self.pipes:
            answer = pipe.recv()
            if isinstance(answer, str):
                raise RuntimeError(answer)
            latencies += answer
        return Rate.of(latencies, seconds)

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.join(10)
            process.kill()


@contextmanager
def crew(size: int) -> Iterator[Crew]:
    made = Crew(size)
    try:
        yield made
    finally:
        made.close()


def _work(pipe: Any, gate: Any, place: int) -> None:
    calls: dict[Any, Callable[[], Any]] = {}
    while True:
        try:
            make, seconds, given = pipe.recv()
        except EOFError:
            return
        try:
            name = (make, *sorted(given.items()))
            if name not in calls:
                calls[name] = make(place, **given)
            call = calls[name]
            for _warming in range(20):
                call()
            gate.wait(60)
            latencies = []
            now = time.perf_counter()
            end = now + seconds
            while now < end:
                before = now
                call()
                now = time.perf_counter()
                latencies.append(now - before)
            pipe.send(latencies)
        except Exception:  # noqa: BLE001 - the parent reports it
            gate.abort()
            pipe.send(traceback.format_exc())


def users(limit: int | None = None) -> list[Any]:
    return list(get_user_model().objects.order_by("pk")[:limit])


def fresh_keys(place: int) -> Iterator[str]:
    """Keys that no other process and no other run of this one uses."""
    prefix = f"{random.getrandbits(48):012x}-{place}"
    return (f"{prefix}-{number}" for number in itertools.count())


# The yardstick of a debit ------------------------------------------------------------------------------------------


class Yardstick:
    """The least that a debit can be: one PL/pgSQL function called by pgbench, without Python."""

    def __init__(self, accounts: int) -> None:
        self.accounts = accounts
        folder = Path(os.environ.get("TP_YARDSTICK") or HERE.parent.parent / "shared" / "reference" / "yardstick")
        if not (folder / "schema.sql").exists():
            print(f"No yardstick in {folder} (TP_YARDSTICK names its folder): benchmarks/yardstick takes its place.")
            folder = HERE / "yardstick"
        self.script = folder / "d_func.sql"
        with connection.cursor() as cursor:
            # Without parameters the driver sends several statements as they are.
            cursor.execute((folder / "schema.sql").read_text())
        settle_down()
        self.pgbench = find_pgbench()

    def run(self, clients: int, seconds: float, *, accounts: int | None = None, latencies: bool = False) -> Rate:
        place = settings.DATABASES["default"]
        environment = {
            **os.environ,
            "PGHOST": str(place["HOST"] or ""),
            "PGPORT": str(place["PORT"] or ""),
            "PGUSER": str(place["USER"] or ""),
            "PGPASSWORD": str(place["PASSWORD"] or ""),
        }
        environment = {name: value for name, value in environment.items() if value or not name.startswith("PG")}
        with tempfile.TemporaryDirectory() as folder:
            command = [self.pgbench, "-n", "-M", "prepared", "-D", f"accounts={accounts or self.accounts}"]
            command += ["-c", str(clients), "-j", str(min(clients, 2)), "-T", str(max(1, round(seconds)))]
            command += ["-l"] * latencies + ["-f", str(self.script), place["NAME"]]
            done = subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True, text=True)
            per_second = next(float(line.split()[2]) for line in done.stdout.splitlines() if line.startswith("tps"))
            if not latencies:
                return Rate(per_second)
            times = [
                int(line.split()[2]) / 1e6
                for log in glob.glob(f"{folder}/pgbench_log.*")
                for line in Path(log).read_text().splitlines()
            ]
        return Rate(per_second, Rate.of(times, 1).p50, Rate.of(times, 1).p99)


def find_pgbench() -> str:
    folders = []
    if found := shutil.which("pgbench"):
        return found
    if config := shutil.which("pg_config"):
        folders.append(subprocess.run([config, "--bindir"], check=True, capture_output=True, text=True).stdout.strip())
    folders += sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    for folder in folders:
        if (path := Path(folder) / "pgbench").exists():
            return str(path)
    raise SystemExit(
        "pgbench was not found, neither on PATH nor by pg_config. It comes with PostgreSQL's server package."
    )


# Ratios ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Goal:
    must: float | None = None
    stretch: float | None = None
    # A share of the yardstick's rate is to be high, a multiple of its time low.
    low: bool = False

    def verdict(self, found: float) -> str:
        def reached(wanted: float | None) -> bool:
            return wanted is not None and (found <= wanted if self.low else found >= wanted)

        if self.must is None:
            return "for information"
        if reached(self.stretch):
            return "stretch"
        return "must" if reached(self.must) else "MISSED"


def ratio(title: str, found: list[float], goal: Goal, detail: str = "") -> float:
    middle = statistics.median(found)
    goals = [
        f"{name} {value:g}" for name, value in (("must", goal.must), ("stretch", goal.stretch)) if value is not None
    ]
    spread = f"{min(found):.2f}-{max(found):.2f}" if len(found) > 1 else ""
    print(
        f"{title:<56} {middle:6.2f}  {spread:<11} {', '.join(goals):<24} {goal.verdict(middle):<15} {detail}",
        flush=True,
    )
    return middle


def rates(title: str, pairs: list[tuple[Rate, Rate]], goal: Goal) -> float:
    """Calls a second of the first form as a share of the second's."""
    return ratio(
        title, [ours.per_second / other.per_second for ours, other in pairs], goal, _middles(pairs, "{:,.0f}/s")
    )


def _middles(pairs: list[tuple[Rate, Rate]], form: str) -> str:
    ours, other = (statistics.median(rate.per_second for rate in rates) for rates in zip(*pairs, strict=True))
    return f"({form.format(ours)} : {form.format(other)})"


def alternate(rounds: int, ours: Callable[[], Any], other: Callable[[], Any]) -> list[tuple[Any, Any]]:
    """The two by turns, and each first in every second round."""
    pairs = []
    for number in range(rounds):
        if number % 2:
            first = other()
            pairs.append((ours(), first))
        else:
            first = ours()
            pairs.append((first, other()))
    return pairs


def by_turns(given: Options, ours: Callable[[float], Rate], other: Callable[[float], Rate]) -> list[tuple[Rate, Rate]]:
    """Rounds of two calls that take their length in seconds, after an unmeasured one of each.

    The first writes to a page after a checkpoint log the whole page, which neither form should pay for alone.
    """
    ours(given.seconds / 2)
    other(given.seconds / 2)
    return alternate(given.rounds, lambda: ours(given.seconds), lambda: other(given.seconds))


def seconds(call: Callable[[], Any]) -> float:
    before = time.perf_counter()
    call()
    return time.perf_counter() - before


def times(title: str, pairs: list[tuple[float, float]], goal: Goal, *, rows: int | None = None) -> float:
    """The first form's time as a multiple of the second's."""
    ours, other = (statistics.median(found) for found in zip(*pairs, strict=True))
    detail = (
        f"({rows / ours:,.0f} : {rows / other:,.0f} rows/s)" if rows else f"({ours * 1e3:.1f} : {other * 1e3:.1f} ms)"
    )
    return ratio(title, [ours / other for ours, other in pairs], goal, detail)


def peak_memory() -> float:
    """Megabytes that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
