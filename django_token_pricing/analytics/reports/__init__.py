"""Reports as files: usage, cost, margin, utilisation, forecast and anomalies, as CSV, XLSX or JSON."""

from django_token_pricing.analytics.reports.runs import KIND, NEEDED, ask, may_export, record
from django_token_pricing.analytics.reports.tables import Report, Table, Terms
from django_token_pricing.analytics.reports.writing import REPORTS, count, file_name, report_of, tables_of, write

__all__ = [
    "KIND",
    "NEEDED",
    "REPORTS",
    "Report",
    "Table",
    "Terms",
    "ask",
    "count",
    "file_name",
    "may_export",
    "record",
    "report_of",
    "tables_of",
    "write",
]
