"""A CSV of 100,000 allocations: uploaded, checked, previewed and granted, against COPY and one join of the same rows.

The bare form reads the CSV too, trusts it, and finds the users by one join; the rows go into copies of the tables with
all their checks, indexes and foreign keys. Nobody is locked for them, no balance is kept and no key looked up.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from functools import partial
from uuid import uuid4

from django.contrib.auth import get_user_model
from django.db import connection, transaction

from benchmarks.grants import BARE_ENTRIES, BARE_KEYS, BARE_LOTS
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
)
from django_token_pricing import jobs, tokens
from django_token_pricing.models import Job

JOB = "django_token_pricing_job"


def prepare() -> None:
    """The tables as they were before the first grant, on both sides."""
    execute(f"TRUNCATE {JOB}, {LOT}, {ENTRY}, {KEY}, {EVENT}, bare.lot, bare.entry, bare.key CASCADE")
    settle_down()


def file_of(number: int, *, keyed: bool) -> bytes:
    ends = time_from_now(days=30).date().isoformat()
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["E-mail", "Amount", "Source", "Expires", *(["Key"] if keyed else [])])
    for place in range(1, number + 1):
        writer.writerow([f"user{place}@example.com", 1_000, "plan", ends, *([f"k-{place}"] if keyed else [])])
    return text.getvalue().encode()


def blocks(data: bytes) -> Iterator[bytes]:
    """As Django gives an upload."""
    return (data[start : start + 65_536] for start in range(0, len(data), 65_536))


def importing(data: bytes, parts: list[tuple[float, float, float]]) -> float:
    prepare()

    def upload() -> None:
        job = jobs.create("tokens.import", params={}, actor=None, key=uuid4(), file_name="lots.csv", file=blocks(data))
        found.append(job.pk)

    def grant() -> None:
        jobs.confirm(Job.objects.get(pk=found[0]), reason="benchmark", actor=None)
        jobs.work(found[0])

    found: list[int] = []
    measured = seconds(upload), seconds(lambda: jobs.work(found[0])), seconds(grant)
    parts.append(measured)
    job = Job.objects.get(pk=found[0])
    assert (job.status, job.done) == ("done", job.total), job.problem
    return sum(measured)


def copying(data: bytes) -> float:
    prepare()

    def call() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "CREATE TEMPORARY TABLE bare_rows (email text, amount bigint, source text, expires date, key text)"
                " ON COMMIT DROP"
            )
            reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), "utf-8", newline=""))
            next(reader)
            with cursor.copy("COPY bare_rows FROM STDIN") as copy:
                for row in reader:
                    copy.write_row(row if len(row) == 5 else [*row, f"{row[0]}:1"])
            rows = f"bare_rows r JOIN auth_user u ON u.email = r.email JOIN {ACCOUNT} a ON a.user_id = u.id"
            cursor.execute(BARE_LOTS.format(key="r.key", rows=rows) + BARE_KEYS + BARE_ENTRIES)

    return seconds(call)


def run(given: Options) -> None:
    number = 5_000 if given.quick else 100_000
    with database():
        add_users(number)
        # The accounts exist, as they do after the first grant of a user's life.
        tokens.grant_many(get_user_model().objects.all(), 1, source="plan")
        bare_copy(LOT, "lot", storage="WITH (fillfactor = 70)", instead={LOT: "bare.lot"})
        bare_copy(ENTRY, "entry", instead={LOT: "bare.lot"})
        bare_copy(KEY, "key")
        for keyed in (False, True):
            data = file_of(number, keyed=keyed)
            before = peak_memory()
            parts: list[tuple[float, float, float]] = []
            pairs = alternate(given.rounds, partial(importing, data, parts), partial(copying, data))
            title = f"a CSV of {number:,} lines{' with keys' if keyed else ''} : COPY + join"
            times(title, pairs, Goal(4, 2.5, low=True), rows=number)
            upload, check, grant = (min(part) for part in zip(*parts, strict=True))
            print(f"  uploaded in {upload:.1f} s, checked in {check:.1f} s, granted in {grant:.1f} s")
            print(f"  peak memory of the process: {before:.0f} MB before, {peak_memory():.0f} MB after")


if __name__ == "__main__":
    run(options(__doc__))
