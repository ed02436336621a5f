"""Reports as files: which report, of which days, in which format; and the list of who took which.

The days and names are those of the other pages' filters, in the URL. Few rows are sent at once, many are a job's work.
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from functools import cached_property
from tempfile import TemporaryFile
from typing import Any
from uuid import uuid4

from django import forms
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import FileResponse, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_token_pricing import analytics
from django_token_pricing.admin.analytics.base import DashboardView
from django_token_pricing.admin.analytics.export_list import run_rows
from django_token_pricing.admin.analytics.filter_bar import span
from django_token_pricing.admin.base.exports import told
from django_token_pricing.admin.base.mixins import Link, list_url, may_view, object_url
from django_token_pricing.admin.base.paginator import MOST_COUNTED
from django_token_pricing.admin.base.parts import Note
from django_token_pricing.admin.base.wording import number
from django_token_pricing.analytics import reports
from django_token_pricing.lib.rows import SheetError
from django_token_pricing.lib.sheet_writers import FORMATS
from django_token_pricing.models import AnalyticsExport, Job

# Days that a forecast can reach.
AHEAD = 90
MOST_RUNS = 5


class ReportForm(forms.Form):
    """How the report is grouped, in which format, and why."""

    key = forms.UUIDField(widget=forms.HiddenInput)
    group = forms.ChoiceField(label=gettext_lazy("Rows for each"))
    format = forms.ChoiceField(
        label=gettext_lazy("Format"),
        choices=[(name, form.name) for name, form in FORMATS.items()],
        initial="xlsx",
        help_text=gettext_lazy("XLSX and JSON hold all parts of the report and what it is about, CSV the first part."),
    )
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        required=False,
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=gettext_lazy("Kept in the audit trail. You may leave it out."),
    )

    def __init__(self, report: reports.Report, only: analytics.Slice, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.report, self.only = report, only
        if report.groups:
            self.fields["group"].choices = report.groups  # type: ignore[attr-defined]
        else:
            del self.fields["group"]

    def clean_group(self) -> str:
        group: str = self.cleaned_data["group"]
        if set(self.report.dimensions) != set(self.report.takes(group)) and kept(self.only, self.report.dimensions):
            raise forms.ValidationError(
                _("Accounts are summed over all models, features and tiers. Take these filters out first.")
            )
        return group


def kept(only: analytics.Slice, dimensions: Any) -> dict[str, tuple[str, ...]]:
    """What was chosen of these dimensions."""
    return {name: values for name in dimensions if (values := getattr(only, name))}


class ExportsView(DashboardView):
    page = "exports"
    title = gettext_lazy("Exports")
    permissions = reports.NEEDED
    template_name = "django_token_pricing/admin/analytics/exports.html"
    http_method_names = ["get", "head", "options", "post"]

    @cached_property
    def report(self) -> reports.Report:
        """The one in the URL, else the first. Raises PermissionDenied for one about money without the permission."""
        found = reports.REPORTS.get(self.request.GET.get("report", ""), next(iter(reports.REPORTS.values())))
        if found.is_money and not self.may_view_costs:
            raise PermissionDenied
        return found

    @property
    def days(self) -> analytics.Period:
        """The days of the URL, or for a forecast those to come."""
        if self.report.is_ahead:
            return analytics.Period.of_days(AHEAD + 1, last=analytics.today() + timedelta(days=AHEAD))
        return self.period

    def terms(self, group: str) -> reports.Terms:
        only = analytics.Slice(**kept(self.slice, self.report.takes(group)))
        return reports.Terms(self.report.name, self.days, only, group, with_costs=self.may_view_costs)

    # The page

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        if self.report.is_ahead:
            context["bar"] = None
        return {**context, "form": kwargs.get("form") or self.form()}

    def form(self, data: Any = None) -> ReportForm:
        return ReportForm(self.report, self.slice, data, initial={"key": uuid4(), "format": "xlsx"})

    @property
    def reached(self) -> str:
        return ""

    def tools(self) -> list[Link]:
        if not may_view(self.site, self.request, AnalyticsExport):
            return []
        return [Link(_("All exports"), list_url(self.site, AnalyticsExport))]

    def panels(self) -> dict[str, Any]:
        may_runs = may_view(self.site, self.request, AnalyticsExport)
        first = self.report.groups[0][0] if self.report.groups else ""
        return {
            "reports": [
                Link(str(one.title), self.url_with(report=one.name), is_current=one is self.report)
                for one in reports.REPORTS.values()
                if self.may_view_costs or not one.is_money
            ],
            "report": self.report,
            "days": span(self.days),
            "parts": [
                (table.name, ", ".join(column.name for column in table.columns))
                for table in reports.tables_of(self.terms(first))
            ],
            "most": number(MOST_COUNTED),
            "runs": run_rows(self.site, AnalyticsExport.objects.order_by("-pk")[:MOST_RUNS]) if may_runs else None,
        }

    def notes(self) -> list[Note]:
        chosen = kept(self.slice, ("tiers", "models", "features"))
        if not chosen.keys() - set(self.report.dimensions):
            return []
        words = _("This report takes tiers only.") if self.report.dimensions else _("This report is of the whole site.")
        return [Note("info", words, _("Other filters are left out of it."))]

    # The file

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        form = self.form(request.POST)
        if self.filter.errors_told or not form.is_valid():
            return self.render_to_response(self.get_context_data(form=form))
        given = form.cleaned_data
        terms = self.terms(given.get("group", ""))
        if reports.count(terms, MOST_COUNTED) > MOST_COUNTED:
            run = reports.ask(terms, given["format"], actor=request.user, key=given["key"], reason=given["reason"])
            return HttpResponseRedirect(object_url(self.site, Job, run.job_id))
        try:
            return self._file(request, terms, given)
        except SheetError as error:
            form.add_error("format", told(error))
            return self.render_to_response(self.get_context_data(form=form))

    def _file(self, request: HttpRequest, terms: reports.Terms, given: dict[str, Any]) -> HttpResponseBase:
        """Written whole before it is sent: a file that broke off would look like one that ends there."""
        form = FORMATS[given["format"]]
        with ExitStack() as until_sent:
            file = until_sent.enter_context(TemporaryFile())
            rows = max(reports.write(terms, given["format"], file, asked_by=request.user.get_username()))
            with transaction.atomic():
                reports.record(terms, given["format"], actor=request.user, reason=given["reason"], rows=rows)
            file.seek(0)
            until_sent.pop_all()
        name = reports.file_name(terms, given["format"])
        return FileResponse(file, as_attachment=True, filename=name, content_type=form.content_type)
