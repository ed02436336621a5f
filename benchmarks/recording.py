"""Usage that is only recorded, 1 M rows with a key each, against COPY + INSERT..SELECT of the same rows.

From Python by record_many(), and from a CSV file by `token_pricing_import_usage --no-charge`.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

from django.core.management import call_command, get_commands
from django.db import connection, transaction

from benchmarks.harness import (
    ACCOUNT,
    KEY,
    USAGE,
    Goal,
    Options,
    add_accounts,
    alternate,
    database,
    execute,
    options,
    peak_memory,
    seconds,
    settle_down,
    times,
    users,
)
from django_token_pricing import tokens
from django_token_pricing.tokens import Use

HEADER = ("at", "who", "model", "in", "out", "amount", "key")
SINCE = datetime(2025, 1, 1, tzinfo=timezone.utc)
STAGE = """
    CREATE TEMPORARY TABLE bare_rows (used_at timestamptz, username text, model text, input_tokens bigint,
        output_tokens bigint, amount bigint, key text) ON COMMIT DROP
"""
USES = f"""
    WITH uses AS (
        INSERT INTO {USAGE} (account_id, amount, is_charged, used_at, booked_at, tier, key, provider, model, feature,
            input_tokens, output_tokens, metadata)
        SELECT a.id, r.amount, false, r.used_at, now(), a.tier, r.key, '', r.model, '',
            r.input_tokens, r.output_tokens, '{{}}'
        FROM bare_rows r JOIN auth_user u ON u.username = r.username JOIN {ACCOUNT} a ON a.user_id = u.id
        RETURNING id, account_id, amount, key, booked_at)
    INSERT INTO {KEY} (digest, verb, account_id, amount, detail, booked_at, usage_id)
    SELECT encode(substr(sha256(convert_to(key, 'UTF8')), 1, 16), 'hex')::uuid, 'record', account_id, amount, '',
        booked_at, id FROM uses
"""


def prepare() -> None:
    execute(f"TRUNCATE {USAGE}, {KEY} CASCADE")
    settle_down()


def rows(owners: list[Any], number: int) -> Iterator[tuple[Any, ...]]:
    for n in range(number):
        used = SINCE + timedelta(seconds=10 * n)
        yield used, owners[n % len(owners)], "m1", n % 900, n % 70, n % 900 + n % 70, f"use-{n}"


def recording(owners: list[Any], number: int) -> float:
    prepare()
    uses = (
        Use(owner, amount, key=key, used_at=used, model=model, input_tokens=into, output_tokens=out)
        for used, owner, model, into, out, amount, key in rows(owners, number)
    )
    return seconds(lambda: tokens.record_many(uses))


def copying(owners: list[Any], number: int) -> float:
    prepare()

    def call() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(STAGE)
            with cursor.copy("COPY bare_rows FROM STDIN") as copy:
                for used, owner, *rest in rows(owners, number):
                    copy.write_row((used, owner.username, *rest))
            cursor.execute(USES)

    return seconds(call)


def importing(path: Path) -> float:
    prepare()
    given = {"used_at": "at", "owner": "who", "model": "model", "input_tokens": "in", "output_tokens": "out"}
    mapped = [f"{field}={column}" for field, column in {**given, "amount": "amount", "key": "key"}.items()]
    arguments = [str(path), "--no-charge", *(word for pair in mapped for word in ("--map", pair))]
    said = io.StringIO()
    return seconds(lambda: call_command("token_pricing_import_usage", *arguments, stdout=said, stderr=said))


def copying_file(path: Path) -> float:
    prepare()

    def call() -> None:
        with transaction.atomic(), connection.cursor() as cursor, path.open("rb") as source:
            cursor.execute(STAGE)
            with cursor.copy("COPY bare_rows FROM STDIN WITH (FORMAT csv, HEADER)") as copy:
                while piece := source.read(1 << 20):
                    copy.write(piece)
            cursor.execute(USES)

    return seconds(call)


def run(given: Options) -> None:
    number = 20_000 if given.quick else 1_000_000
    with database(), tempfile.TemporaryDirectory() as folder:
        add_accounts(10_000, lots=1)
        owners = users()
        recording(owners, number // 10)
        before = peak_memory()
        pairs = alternate(given.rounds, partial(recording, owners, number), partial(copying, owners, number))
        times(f"record_many(), {number:,} rows : COPY + INSERT..SELECT", pairs, Goal(4, low=True), rows=number)
        print(f"  peak memory of the process: {before:.0f} MB after a tenth, {peak_memory():.0f} MB in all")
        if "token_pricing_import_usage" not in get_commands():
            print("There is no command token_pricing_import_usage yet.")
            return
        path = Path(folder) / "usage.csv"
        with path.open("w", newline="") as target:
            writer = csv.writer(target)
            writer.writerow(HEADER)
            writer.writerows((used.isoformat(), owner.username, *rest) for used, owner, *rest in rows(owners, number))
        before = peak_memory()
        pairs = alternate(given.rounds, partial(importing, path), partial(copying_file, path))
        times(f"import --no-charge, {number:,} rows : COPY + INSERT..SELECT", pairs, Goal(4, low=True), rows=number)
        print(f"  peak memory of the process: {before:.0f} MB before, {peak_memory():.0f} MB after")


if __name__ == "__main__":
    run(options(__doc__))
