"""An analytics report of 100,000 rows as XLSX: the memory of the process that writes it at a tenth of the rows and at
all of them, and its time against openpyxl writing the same cells in write-only mode, from the same reading."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from tempfile import TemporaryFile

from django.db import connections
from openpyxl import Workbook

from benchmarks.harness import (
    Goal,
    Options,
    alternate,
    database,
    execute,
    options,
    peak_memory,
    ratio,
    seconds,
    settle_down,
    times,
)
from django_token_pricing import analytics
from django_token_pricing.analytics import reports

DAY = "django_token_pricing_usageday"
FIRST = date(2025, 1, 1)
# Rows of a day: models and features.
OF_A_DAY = 250


def add_days(number: int) -> None:
    execute(
        f"""
        INSERT INTO {DAY} (day, tier, model, feature, requests, tokens, input_tokens, output_tokens, cached_tokens,
            cost, unpriced)
        SELECT DATE '{FIRST}' + n / {OF_A_DAY}, 'pro', 'model ' || n %% 25, 'feature ' || n %% {OF_A_DAY} / 25,
            n %% 900, n * 31 %% 1000003, n * 17 %% 1000003, n * 13 %% 1000003, n %% 5003, n * 0.000137, 0
        FROM generate_series(0, %s) n
        """,
        [number - 1],
    )
    settle_down()


def terms(rows: int) -> reports.Terms:
    period = analytics.Period(FIRST, FIRST + timedelta(days=rows // OF_A_DAY))
    return reports.Terms("usage", period, group="day", with_costs=True)


def ours(rows: int) -> None:
    with TemporaryFile() as file:
        for _written in reports.write(terms(rows), "xlsx", file, asked_by="benchmark"):
            pass


def openpyxl(rows: int) -> None:
    book = Workbook(write_only=True)
    for table in reports.tables_of(terms(rows)):
        sheet = book.create_sheet(table.name)
        sheet.append([column.name for column in table.columns])
        for row in table.rows():
            sheet.append(row)
    with TemporaryFile() as file:
        book.save(file)


def memory(write: Callable[[int], None], rows: int) -> tuple[float, float]:
    """Megabytes of a process that does nothing else: when it begins, and at most."""

    def measure() -> None:
        connections.close_all()
        before = peak_memory()
        write(rows)
        answers.put((before, peak_memory()))

    connections.close_all()
    forked = multiprocessing.get_context("fork")
    answers = forked.Queue()
    process = forked.Process(target=measure)
    process.start()
    found: tuple[float, float] = answers.get()
    process.join()
    return found


def run(given: Options) -> None:
    rows = 30_000 if given.quick else 100_000
    with database():
        add_days(rows)
        grown = []
        for name, write in (("ours", ours), ("openpyxl, write-only", openpyxl)):
            for part in (rows // 10, rows):
                before, peak = memory(write, part)
                grown.append(peak - before)
                print(f"  {name}, {part:,} rows: {peak:.0f} MB at most, {peak - before:.1f} more than before")
        few, many, *_others = grown
        ratio("memory of ten times the rows : of a tenth", [(many + 1) / (few + 1)], Goal(1.5, 1.1, low=True))
        pairs = alternate(given.rounds, partial(timed, ours, rows), partial(timed, openpyxl, rows))
        times(f"an XLSX of {rows:,} rows : openpyxl, write-only", pairs, Goal(1, 0.5, low=True), rows=rows)


def timed(write: Callable[[int], None], rows: int) -> float:
    return seconds(lambda: write(rows))


if __name__ == "__main__":
    run(options(__doc__))
