"""What was used, by hours, days, weeks or months, or by accounts and months."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db.models import QuerySet, Sum
from django.db.models.functions import TruncMonth, TruncWeek
from django.utils.translation import gettext_lazy as _

from django_token_pricing.analytics.reports.accounts import used_by_accounts
from django_token_pricing.analytics.reports.tables import Money, Report, Table, Terms, of_rows
from django_token_pricing.lib.workbooks import Column
from django_token_pricing.models import UsageDay, UsageHour

MEASURES = [
    Column("requests", "whole"),
    Column("tokens", "whole"),
    Column("input_tokens", "whole"),
    Column("output_tokens", "whole"),
    Column("cached_tokens", "whole"),
    Money("cost", "amount"),
    Money("uses_without_cost", "whole"),
]
NAMES = [Column("tier"), Column("model"), Column("feature")]
SUMMED = ("requests", "tokens", "input_tokens", "output_tokens", "cached_tokens", "cost", "unpriced")
SHEETS = {"tier": "By tier", "model": "By model", "feature": "By feature"}


class UsageReport(Report):
    name = "usage"
    title = _("Usage")
    groups: ClassVar[Sequence[tuple[str, Any]]] = [
        ("day", _("Day")),
        ("hour", _("Hour")),
        ("week", _("Week, from Monday")),
        ("month", _("Month")),
        ("account", _("Account and month")),
    ]

    def takes(self, group: str) -> Sequence[str]:
        """Accounts are summed by months, over all models and features and whatever their tier was then."""
        return () if group == "account" else self.dimensions

    def all_tables(self, terms: Terms) -> list[Table]:
        if terms.group == "account":
            return [used_by_accounts(terms)]
        days = UsageDay.objects.filter(terms.period.in_days(), terms.only.condition())
        parts = [_summed(sheet, [Column(name)], days, name) for name, sheet in SHEETS.items()]
        return [self._by_time(terms, days), *parts]

    def _by_time(self, terms: Terms, days: QuerySet[UsageDay]) -> Table:
        """By time, tier, model and feature."""
        if terms.group == "hour":
            hours = UsageHour.objects.filter(terms.period.in_days(), terms.only.condition())
            return _summed("Usage", [Column("hour", "moment"), *NAMES], hours, "starts_at", hour="starts_at")
        columns = [Column(terms.group, "day"), *NAMES]
        if terms.group == "day":
            return _summed("Usage", columns, days, "day")
        cut: Any = TruncWeek if terms.group == "week" else TruncMonth
        return _summed("Usage", columns, days.annotate(**{terms.group: cut("day")}), terms.group)


def _summed(sheet: str, columns: Sequence[Column], rows: QuerySet[Any], first: str, **keys: str) -> Table:
    names = [keys.get(column.name, column.name) for column in columns]
    sums = rows.values(*names).annotate(**{name: Sum(name) for name in SUMMED}).order_by()
    return of_rows(sheet, [*columns, *MEASURES], sums, *names, keys={**keys, "uses_without_cost": "unpriced"})
