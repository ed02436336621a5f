"""The tables of the overview: what the colours of the chart come to, and who used most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from django.contrib.admin import AdminSite
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from django_token_pricing import analytics, conf
from django_token_pricing.admin.analytics.overview_charts import series_of
from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.mixins import object_url
from django_token_pricing.admin.base.wording import NOTHING, amount, change, month, per_cent, short
from django_token_pricing.admin.tokens import owners
from django_token_pricing.models import TokenAccount


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    css: str
    tokens: str
    share: str
    cost: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """In the order of the stack from the top, so that the table reads like the bars."""

    lines: list[Line]
    whole: Line


@dataclass(frozen=True, slots=True)
class TopLine:
    name: str
    url: str
    tier: str
    tokens: str
    bar: SafeString
    change: str
    left: str
    is_low: bool
    cost: str


def ranking(course: analytics.Course, names: analytics.Names) -> Ranking:
    whole = course.whole
    lines = []
    for group, series in zip(course.groups, series_of(course, names), strict=True):
        lines.append(_line(series.name, series.css, group.whole, whole))
    return Ranking(lines[::-1], _line(_("All"), "", whole, whole))


def _line(name: str, css: str, part: analytics.Measures, whole: analytics.Measures) -> Line:
    cost = amount(part.cost)
    if part.requests and part.unpriced == part.requests:
        cost = NOTHING
    share = per_cent(part.tokens / whole.tokens) if whole.tokens else NOTHING
    return Line(name, css, short(part.tokens), share, cost)


def top(found: analytics.Top, site: AdminSite) -> list[TopLine]:
    most = max((row.tokens for row in found.rows), default=0)
    return [
        TopLine(
            name=owners.name(row.login, row.pool, row.account),
            url=object_url(site, TokenAccount, row.account),
            tier=row.tier or (_("Pool") if row.pool is not None else NOTHING),
            tokens=short(row.tokens),
            bar=charts.share_bar(row.tokens / most if most else 0),
            change=change(row.tokens, row.before) if row.before else _("new"),
            left=NOTHING if row.share_left is None else per_cent(row.share_left / 100),
            is_low=row.share_left is not None and row.share_left <= conf.current().LOW_BALANCE_PERCENT,
            cost=amount(row.cost),
        )
        for row in found.rows
    ]


def months_in_words(months: Sequence[date]) -> str:
    if not months:
        return ""
    if len(months) == 1:
        return month(months[0])
    return _("%(first)s to %(last)s") % {"first": month(months[0]), "last": month(months[-1])}
