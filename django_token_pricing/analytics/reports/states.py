"""What is so now: how allocations are used, what is forecast, and what was found to be odd."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar

from django.db.models import Exists, OuterRef, QuerySet
from django.utils.translation import gettext_lazy as _

from django_token_pricing.analytics import utilisation
from django_token_pricing.analytics.reports.accounts import had_by_accounts
from django_token_pricing.analytics.reports.tables import Report, Table, Terms, of_lines, of_rows
from django_token_pricing.choices import AnomalyKind, ForecastMetric, UsedShare
from django_token_pricing.lib.sheet_writers import MOST_CELL
from django_token_pricing.lib.workbooks import Column
from django_token_pricing.models import Anomaly, Forecast, TierAdvice

FORECAST = [Column("scope"), Column("name"), Column("metric"), Column("method"), Column("made_at", "moment")]


class UtilisationReport(Report):
    """Of this month, whatever days are asked for: how much of what they had accounts used, and what would do."""

    name = "utilisation"
    title = _("Utilisation")
    dimensions = ("tiers",)
    groups: ClassVar[Sequence[tuple[str, Any]]] = [("tier", _("Tier")), ("account", _("Account"))]

    def all_tables(self, terms: Terms) -> list[Table]:
        columns = [Column("tier"), *(Column(name, "whole") for name in _SHARES.values())]
        tiers = of_lines("Tiers", columns, lambda: _tiers(terms))
        advice = [
            Column("tier"),
            Column("from_month", "day"),
            Column("months", "whole"),
            Column("accounts", "whole"),
            Column("used_anything", "whole"),
            Column("were_given_tokens", "whole"),
            Column("given_in_31_days", "whole"),
            Column("median", "whole"),
            Column("percentile_90", "whole"),
            Column("suggested", "whole"),
            Column("would_have_run_dry", "whole"),
        ]
        parts = [tiers, of_lines("Suggested", advice, lambda: _advice(terms))]
        return [had_by_accounts(terms), *parts] if terms.group == "account" else parts


_SHARES = {
    UsedShare.TENTH.value: "used_below_10_percent",
    UsedShare.HALF.value: "used_10_to_50_percent",
    UsedShare.MOST.value: "used_50_to_90_percent",
    UsedShare.ALL.value: "used_90_percent_and_more",
    UsedShare.DRY.value: "ran_dry",
    UsedShare.NOTHING.value: "had_none",
}


def _tiers(terms: Terms) -> list[Sequence[Any]]:
    found = utilisation.used_shares()
    wanted = terms.only.tiers
    return [
        [tier, *(counts.get(share, 0) for share in _SHARES)]
        for tier, counts in (sorted(found.tiers.items()) if found else [])
        if not wanted or tier in wanted
    ]


def _advice(terms: Terms) -> list[Sequence[Any]]:
    rows = TierAdvice.objects.order_by("tier")
    if terms.only.tiers:
        rows = rows.filter(tier__in=terms.only.tiers)
    fields = (
        "tier",
        "first_month",
        "months",
        "accounts",
        "active",
        "given",
        "granted",
        "median",
        "most_use",
        "suggested",
        "short",
    )
    return [list(row) for row in rows.values_list(*fields)]


class ForecastReport(Report):
    """The newest forecast of each, its days that lie in the period, and how well its method did in the past."""

    name = "forecast"
    title = _("Forecast")
    is_ahead = True
    dimensions = ()

    def all_tables(self, terms: Terms) -> list[Table]:
        days = [*FORECAST, Column("day", "day"), *(Column(name, "amount") for name in ("value", "low", "high"))]
        history = [Column("history_from", "day"), Column("history_until", "day")]
        tests = [*FORECAST, *history, Column("beats_naive"), Column("back_test")]
        return [
            of_lines("Forecast", days, lambda: list(_points(terms))),
            of_lines("Back-tests", tests, lambda: list(_tests(terms))),
        ]


def _newest(terms: Terms) -> QuerySet[Forecast]:
    later = Forecast.objects.filter(
        scope=OuterRef("scope"), name=OuterRef("name"), metric=OuterRef("metric"), made_at__gt=OuterRef("made_at")
    )
    rows = Forecast.objects.filter(~Exists(later)).order_by("scope", "name", "metric", "pk")
    return rows if terms.with_costs else rows.exclude(metric=ForecastMetric.COST)


def _points(terms: Terms) -> Iterator[Sequence[Any]]:
    for forecast in _newest(terms):
        for day, *values in forecast.points:
            if terms.period.first <= (at := date.fromisoformat(day)) < terms.period.until:
                numbers = [None if value is None else Decimal(str(value)) for value in values]
                yield [*_of(forecast), at, *numbers]


def _tests(terms: Terms) -> Iterator[Sequence[Any]]:
    for forecast in _newest(terms):
        told = json.dumps(forecast.backtest, sort_keys=True)
        better = "yes" if forecast.is_better else "no"
        yield [*_of(forecast), forecast.first_day, forecast.last_day, better, told[:MOST_CELL]]


def _of(forecast: Forecast) -> list[Any]:
    return [forecast.scope, forecast.name, forecast.metric, forecast.method, forecast.made_at]


class AnomalyReport(Report):
    """What began in the period. Cost spikes tell costs, and are there only for who may see these."""

    name = "anomalies"
    title = _("Anomalies")
    dimensions = ()

    def all_tables(self, terms: Terms) -> list[Table]:
        rows = Anomaly.objects.filter(starts_at__gte=terms.period.starts_at, starts_at__lt=terms.period.ends_at)
        if not terms.with_costs:
            rows = rows.exclude(kind=AnomalyKind.COST_SPIKE)
        fields = [ANOMALY_KEYS.get(column.name, column.name) for column in ANOMALY]
        return [of_rows("Anomalies", ANOMALY, rows.values(*fields), "starts_at", "pk", keys=ANOMALY_KEYS)]


ANOMALY = [
    Column("number", "whole"),
    Column("kind"),
    Column("scope"),
    Column("target"),
    Column("account", "whole"),
    Column("rule"),
    Column("starts_at", "moment"),
    Column("ends_at", "moment"),
    Column("found_at", "moment"),
    Column("value", "amount"),
    Column("expected", "amount"),
    Column("score", "amount"),
    Column("state"),
    Column("worth_it"),
    Column("note"),
]
ANOMALY_KEYS = {"number": "pk", "rule": "rule__name", "worth_it": "is_real"}
