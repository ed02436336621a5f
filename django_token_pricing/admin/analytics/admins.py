"""The addresses of the section: dashboards in the place of lists of roll-ups, and a file of each chart."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.http import content_disposition_header

from django_token_pricing import analytics
from django_token_pricing.admin.analytics.pages import PAGES
from django_token_pricing.admin.analytics.section import may
from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.mixins import ReadOnlyAdmin
from django_token_pricing.exceptions import ExtraMissing
from django_token_pricing.models import UsageDay

OVERVIEW = "overview"


@admin.register(UsageDay)
class UsageDayAdmin(ReadOnlyAdmin):
    """There is no list of roll-ups: what they say is on the dashboards."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request, "view_analytics")

    def get_urls(self) -> list[URLPattern]:
        prefix = f"{self.opts.app_label}_{self.opts.model_name}"
        found = []
        for page in PAGES:
            view = self.admin_site.admin_view(page.as_view(model_admin=self))
            is_first = page.page == OVERVIEW
            name = "changelist" if is_first else page.page
            found.append(path("" if is_first else f"{page.page}/", view, name=f"{prefix}_{name}"))
            found += page.further_urls(self, prefix)
        chart = self.admin_site.admin_view(self.chart_view)
        return [*found, path("charts/<slug:page>/<slug:name>.<slug:extension>", chart, name=f"{prefix}_chart")]

    def chart_view(self, request: HttpRequest, page: str, name: str, extension: str) -> HttpResponse:
        """A chart of a page with the filters of that page, as a file."""
        kind = next((kind for kind in PAGES if kind.page == page), None)
        form = charts.files.FORMATS.get(extension)
        if kind is None or form is None or name not in kind.drawings:
            raise Http404
        if not may(request, "export_analytics", *kind.permissions):
            raise PermissionDenied
        view = kind(model_admin=self)
        view.setup(request)
        chart = view.chart(name)
        if chart is None:
            raise Http404
        try:
            content = form.write(chart)
        except ExtraMissing as error:
            return HttpResponse(error.message, content_type="text/plain; charset=utf-8", status=501)
        response = HttpResponse(content, content_type=form.content_type)
        response["Content-Disposition"] = content_disposition_header(
            True, f"{page}-{name}-{analytics.today()}.{extension}"
        )
        return response
