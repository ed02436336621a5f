"""Revenue and cost over time, as lines."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from django.utils.translation import gettext as _

from django_token_pricing import analytics
from django_token_pricing.admin.analytics.columns import Columns
from django_token_pricing.admin.analytics.filter_bar import span
from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.wording import NOTHING, decimal, money, short

# Up to so many days a unit gives a chart that can be read.
MOST_DAYS = {"day": 92, "week": 730}


def unit_of(period: analytics.Period) -> str:
    return next((unit for unit, most in MOST_DAYS.items() if period.days <= most), "month")


def starts(period: analytics.Period, unit: str) -> list[date]:
    """The first days of the units that the period touches."""
    if unit == "month":
        return period.months()
    if unit == "day":
        return list(period)
    first = period.first - timedelta(days=period.first.weekday())
    return [first + timedelta(days=place) for place in range(0, (period.until - first).days, 7)]


def course(period: analytics.Period, only: analytics.Slice, currency: str, zone: str) -> charts.Chart | None:
    """None where nothing was used or earned. Two queries."""
    unit = unit_of(period)
    lines = {line.name: line for line in analytics.margin_by(period, unit, only).lines}
    if not lines:
        return None
    found = [lines.get(start, analytics.Line()) for start in starts(period, unit)]
    columns = Columns(unit, starts(period, unit), period.last)
    revenue, cost = [line.revenue for line in found], [line.cost for line in found]
    series = [charts.Series(_("Revenue"), revenue, 1), charts.Series(_("Cost"), cost, 3)]
    whole = {"revenue": money(_sum(revenue), currency), "cost": money(_sum(cost), currency), "days": span(period)}
    each = {"day": _("A day"), "week": _("A week"), "month": _("A month")}[unit]
    title = _("Revenue and cost")
    rows = [
        charts.Row(heading, key, [line.revenue, line.cost, line.margin])
        for heading, key, line in zip(columns.headings, columns.keys, found, strict=True)
    ]
    return charts.Chart(
        title=title,
        about=_("%(each)s, in %(currency)s, %(days)s, %(zone)s")
        % {"each": each, "currency": currency, "days": span(period), "zone": zone},
        svg=charts.lines(
            "tp-course",
            title=title,
            description=_("Revenue of %(revenue)s and cost of %(cost)s, %(days)s.") % whole,
            labels=columns.labels,
            series=series,
            height=190,
            every=charts.every(len(columns.labels)),
            tips=columns.headings,
            scale=charts.Scale(words=brief, is_whole=False),
        ),
        table=charts.Table(
            [columns.name, _("Revenue"), _("Cost"), _("Margin")],
            rows,
            words=lambda value: NOTHING if value is None else money(value, currency),
        ),
        keys=charts.keys_of(series),
        is_direct=True,
    )


def brief(value: float) -> str:
    """Money on an axis whose title names the currency: to the cent while it is small."""
    if value and abs(value) < 100:
        return decimal(Decimal(f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"))
    return short(value)


def _sum(amounts: list[Decimal]) -> Decimal:
    return sum(amounts, Decimal(0))
