"""Who took which report, when, with which filters: the list, and its first lines on the page of exports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_token_pricing import analytics
from django_token_pricing.admin.analytics.filter_bar import name_of, span
from django_token_pricing.admin.analytics.section import NAME, tab_url, tabs
from django_token_pricing.admin.base.changelist import BigChangeList
from django_token_pricing.admin.base.charts import clipped
from django_token_pricing.admin.base.filters import DaysFilter
from django_token_pricing.admin.base.markup import link
from django_token_pricing.admin.base.mixins import Link, ReadOnlyAdmin, object_url
from django_token_pricing.admin.base.wording import NOTHING, exact_moment, moment, number
from django_token_pricing.analytics import reports
from django_token_pricing.lib.sheet_writers import FORMATS
from django_token_pricing.models import AnalyticsExport, Job

DIMENSIONS = {"tiers": "tier", "models": "model", "features": "feature"}
LONGEST = 200


@dataclass(frozen=True, slots=True)
class RunRow:
    report: str
    url: str
    when: str
    who: str
    days: str
    format: str
    rows: str


def run_rows(site: AdminSite, runs: Iterable[AnalyticsExport]) -> list[RunRow]:
    found = runs.select_related("event") if isinstance(runs, QuerySet) else runs
    return [
        RunRow(
            report=report_text(run),
            url=object_url(site, AnalyticsExport, run.pk),
            when=moment(run.created_at),
            who=run.event.actor_label or _("The system"),
            days=days_text(run),
            format=format_text(run),
            rows=NOTHING if run.rows is None else number(run.rows),
        )
        for run in found
    ]


def report_text(run: AnalyticsExport) -> str:
    known = reports.REPORTS.get(run.report)
    return str(known.title) if known else run.report


def format_text(run: AnalyticsExport) -> str:
    return FORMATS[run.format].name if run.format in FORMATS else run.format


def days_text(run: AnalyticsExport) -> str:
    first, until = (date.fromisoformat(run.filters[name]) for name in ("first", "until"))
    return span(analytics.Period(first, until)) if until - first < timedelta(days=1_830) else f"{first} – {until}"


def names_text(run: AnalyticsExport) -> str:
    parts = []
    for name, dimension in DIMENSIONS.items():
        if chosen := run.filters.get(name):
            parts.append(", ".join(name_of(dimension, value) for value in chosen))
    return clipped("; ".join(parts), LONGEST) if parts else NOTHING


def group_text(run: AnalyticsExport) -> str:
    known = reports.REPORTS.get(run.report)
    groups = {name: str(text) for name, text in known.groups} if known else {}
    group = run.filters.get("group", "")
    return groups.get(group, group) or NOTHING


class AskedFilter(DaysFilter):
    title = gettext_lazy("day")
    field = "created_at"


class RunList(BigChangeList):
    moment = "created_at"


@admin.register(AnalyticsExport)
class AnalyticsExportAdmin(ReadOnlyAdmin):
    changelist = RunList
    section_name = NAME
    list_display = ["when", "what", "who", "days", "names", "kind", "count"]
    list_filter = [AskedFilter]
    parameters = ["from", "to"]
    readonly_fields = ["exact", "what", "who", "days", "names", "group", "costs", "kind", "count", "why", "work"]
    fieldsets = [
        (None, {"fields": ["what", "days", "names", "group", "costs"]}),
        (gettext_lazy("File"), {"fields": ["kind", "count", "work"]}),
        (gettext_lazy("Asked"), {"fields": ["exact", "who", "why"]}),
    ]

    def described(self, queryset: QuerySet[AnalyticsExport]) -> QuerySet[AnalyticsExport]:
        return queryset.select_related("event")

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        for row in rows:
            row.job_url = object_url(self.admin_site, Job, row.job_id) if row.job_id else ""

    def tabs(self, request: HttpRequest) -> list[Link]:
        return tabs(self.admin_site, request, "exports")

    def list_tools(self, request: HttpRequest) -> list[Link]:
        url = tab_url(self.admin_site, request, "exports")
        return [Link(_("Export"), url, is_adding=True)] if url else []

    @admin.display(description=gettext_lazy("asked"))
    def when(self, row: AnalyticsExport) -> str:
        return moment(row.created_at)

    @admin.display(description=gettext_lazy("asked"))
    def exact(self, row: AnalyticsExport) -> str:
        return exact_moment(row.created_at)

    @admin.display(description=gettext_lazy("report"))
    def what(self, row: AnalyticsExport) -> str:
        return report_text(row)

    @admin.display(description=gettext_lazy("by"))
    def who(self, row: AnalyticsExport) -> str:
        return row.event.actor_label or _("The system")

    @admin.display(description=gettext_lazy("why"))
    def why(self, row: AnalyticsExport) -> str:
        return row.event.reason or NOTHING

    @admin.display(description=gettext_lazy("days"))
    def days(self, row: AnalyticsExport) -> str:
        return days_text(row)

    @admin.display(description=gettext_lazy("only"))
    def names(self, row: AnalyticsExport) -> str:
        return names_text(row)

    @admin.display(description=gettext_lazy("rows for each"))
    def group(self, row: AnalyticsExport) -> str:
        return group_text(row)

    @admin.display(description=gettext_lazy("with costs"), boolean=True)
    def costs(self, row: AnalyticsExport) -> bool:
        return bool(row.filters.get("with_costs"))

    @admin.display(description=gettext_lazy("format"))
    def kind(self, row: AnalyticsExport) -> str:
        return format_text(row)

    @admin.display(description=gettext_lazy("rows"))
    def count(self, row: AnalyticsExport) -> str:
        return NOTHING if row.rows is None else number(row.rows)

    @admin.display(description=gettext_lazy("written by"))
    def work(self, row: Any) -> SafeString | str:
        if not row.job_id:
            return _("The page at once")
        return link(row.job_url, _("Job %(number)s") % {"number": row.job_id})
