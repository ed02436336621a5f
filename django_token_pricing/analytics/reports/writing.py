"""A report as a file: its tables, and last a part that says who asked for what."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from django_token_pricing import conf
from django_token_pricing.analytics.currencies import EXACT, summed
from django_token_pricing.analytics.periods import today, zone
from django_token_pricing.analytics.reports.money import CostReport, MarginReport
from django_token_pricing.analytics.reports.states import AnomalyReport, ForecastReport, UtilisationReport
from django_token_pricing.analytics.reports.tables import PAGE, Report, Table, Terms
from django_token_pricing.analytics.reports.usage import UsageReport
from django_token_pricing.analytics.rollups import rollup_state
from django_token_pricing.exceptions import InvalidInput
from django_token_pricing.lib.sheet_writers import FORMATS, Stream
from django_token_pricing.lib.workbooks import BOOKS, Column

REPORTS: dict[str, Report] = {
    report.name: report
    for report in (
        UsageReport(),
        CostReport(),
        MarginReport(),
        UtilisationReport(),
        ForecastReport(),
        AnomalyReport(),
    )
}


def report_of(terms: Terms) -> Report:
    """Raises KeyError for a report that there is not."""
    return REPORTS[terms.report]


def tables_of(terms: Terms) -> list[Table]:
    """Raises InvalidInput for a grouping that the report does not have."""
    report = report_of(terms)
    groups = [name for name, _text in report.groups] or [""]
    if terms.group not in groups:
        raise InvalidInput(detail=_("%(report)s cannot be grouped like this.") % {"report": report.title})
    return report.tables(terms)


def count(terms: Terms, most: int) -> int:
    """How many rows the file would have, counted up to one more than `most`."""
    found = 0
    for table in tables_of(terms):
        found += table.count(most - found)
        if found > most:
            break
    return found


def write(terms: Terms, format_name: str, stream: Stream, *, asked_by: str) -> Iterator[int]:
    """Write the file; tells now and then how many rows there are, at last how many there were. Raises SheetError."""
    written = 0
    tables = tables_of(terms)
    with BOOKS[format_name](stream, zone()) as book:
        for table in tables if format_name != "csv" else tables[:1]:
            with book.table(table.name, table.columns) as rows:
                for page in pages(table):
                    rows.write(page)
                    written += len(page)
                    yield written
        if format_name != "csv":
            book.write("About", [Column("what"), Column("value")], about(terms, asked_by, written))
    yield written


def about(terms: Terms, asked_by: str, rows: int) -> list[tuple[str, str]]:
    settings = conf.current()
    state = rollup_state()
    only = {"tiers": terms.only.tiers, "models": terms.only.models, "features": terms.only.features}
    found = [
        ("report", terms.report),
        ("asked_by", asked_by),
        ("written_at", timezone.now().isoformat(timespec="seconds")),
        ("first_day", terms.period.first.isoformat()),
        ("last_day", terms.period.last.isoformat()),
        *((name, ", ".join(value or "(none)" for value in values)) for name, values in only.items() if values),
        ("grouped_by", terms.group),
        ("zone", str(zone())),
        ("rows", str(rows)),
        ("roll_ups_as_of", state.folded_at.isoformat(timespec="seconds") if state and state.folded_at else ""),
    ]
    if terms.with_costs:
        rates = ", ".join(f"{currency} {rate}" for currency, rate in sorted(settings.EXCHANGE_RATES.items()))
        found += [("currency", settings.DEFAULT_CURRENCY), ("exchange_rates", rates)]
    return found


def pages(table: Table) -> Iterator[list[list[Any]]]:
    """Its rows, some at a time. Amounts have no zeros at their end, of which databases give more or fewer."""
    amounts = [place for place, column in enumerate(table.columns) if column.kind == "amount"]
    rows = table.rows()
    while page := [list(row) for row in islice(rows, PAGE)]:
        for row in page:
            for place in amounts:
                if isinstance(row[place], Decimal):
                    row[place] = EXACT.normalize(summed(row[place]))
        yield page


def file_name(terms: Terms, format_name: str) -> str:
    return f"{terms.report}-{today():%Y-%m-%d}.{FORMATS[format_name].extension}"
