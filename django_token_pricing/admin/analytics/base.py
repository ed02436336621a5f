"""What the pages of analytics share: who may look, the filters in the URL, tabs, notes, cards, charts and their files.

A page is a `DashboardView` with a template that extends `admin/analytics/dashboard.html`. It names its charts in
`drawings`, and each of these can then be had as a file with the same filters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, ClassVar

from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.urls import URLPattern
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.generic import TemplateView

from django_token_pricing import analytics
from django_token_pricing.admin.analytics.filter_bar import FilterBar
from django_token_pricing.admin.analytics.section import NAME, may, page_url, tab_url, tabs
from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.mixins import Link
from django_token_pricing.admin.base.parts import Card, Note
from django_token_pricing.admin.base.wording import clock
from django_token_pricing.filters.analytics import AnalyticsFilter

# So much later than the newest usage roll-ups may be, before the page says so.
LATE = timedelta(minutes=15)
# What one page hands on to the next.
HANDED_ON = ("range", "first", "last", "model", "feature", "tier")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart on a page, with the links to its files."""

    chart: charts.Chart
    downloads: Sequence[Link]


class DashboardView(TemplateView):
    """A page of the section. Subclasses say which, and give its cards, notes, tools and charts."""

    http_method_names = ["get", "head", "options"]
    model_admin: Any = None
    # Its name among the tabs, and in the addresses of its charts.
    page: ClassVar[str] = ""
    title: ClassVar[Any] = ""
    permissions: ClassVar[tuple[str, ...]] = ("view_analytics",)
    filter_class: ClassVar[type[AnalyticsFilter] | None] = AnalyticsFilter
    # By their names in addresses, the methods that draw.
    drawings: ClassVar[Mapping[str, str]] = {}

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not may(request, *self.permissions):
            raise PermissionDenied
        # As the stock views do: links in templates stay on this site.
        request.current_app = self.site.name
        return super().dispatch(request, *args, **kwargs)

    @property
    def site(self) -> Any:
        model_admin: ModelAdmin[Any] = self.model_admin
        return model_admin.admin_site

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = {
            **self.site.each_context(self.request),
            "opts": self.model_admin.opts,
            "media": self.model_admin.media,
            "title": str(self.title),
            "trail": [Link(str(NAME), page_url(self.site, "usageday_changelist"))],
            "tabs": tabs(self.site, self.request, self.page, self.handed_on),
            "section_name": NAME,
            "tools": [link for link in self.tools() if link.url],
            "notes": [*self.form_notes(), *self.notes()],
            "cards": self.cards(),
            "bar": FilterBar(self.request, self.filter, self.names, analytics.today()) if self.filter_class else None,
            "zone": str(analytics.zone()),
            "reached": self.reached,
            **{f"{name.replace('-', '_')}_chart": self.drawn(name) for name in self.drawings},
            **self.panels(),
        }
        return super().get_context_data(**{**context, **kwargs})

    # What subclasses give

    @classmethod
    def further_urls(cls, model_admin: Any, prefix: str) -> list[URLPattern]:
        """Addresses beside the page itself, such as what its script asks for."""
        return []

    def cards(self) -> list[Card]:
        return []

    def notes(self) -> list[Note]:
        return []

    def tools(self) -> list[Link]:
        """Links beside the title; one without an address is left out."""
        return []

    def panels(self) -> dict[str, Any]:
        """All else that the template shows."""
        return {}

    # What they can use

    @cached_property
    def filter(self) -> AnalyticsFilter:
        return (self.filter_class or AnalyticsFilter)(self.request.GET)

    @property
    def period(self) -> analytics.Period:
        return self.filter.period

    @property
    def slice(self) -> analytics.Slice:
        return self.filter.slice

    @cached_property
    def names(self) -> analytics.Names:
        """The models, features and tiers there are, with their colours."""
        return analytics.names()

    @cached_property
    def standing(self) -> analytics.Standing:
        """How fresh the roll-ups are, and what the summaries found in total."""
        return analytics.standing()

    @property
    def reached(self) -> str:
        """How fresh the figures are, in words."""
        at = self.standing.folded_at
        return _("Figures as of %(time)s.") % {"time": clock(at, timezone.now())} if at else ""

    @property
    def may_view_costs(self) -> bool:
        return may(self.request, "view_costs")

    @property
    def handed_on(self) -> str:
        """The filters as a query string, for pages that take the same."""
        given = {name: self.request.GET.getlist(name) for name in HANDED_ON if name in self.request.GET}
        return urlencode(given, doseq=True)

    def url_with(self, **changes: str | None) -> str:
        """This page with other parameters; None takes one out."""
        given = self.request.GET.copy()
        for name, value in changes.items():
            given.pop(name, None)
            if value is not None:
                given[name] = value
        return f"{self.request.path}?{given.urlencode()}" if given else self.request.path

    def tab_url(self, page: str) -> str:
        """Another page of the section with the same filters; "" where this person may not open it."""
        return tab_url(self.site, self.request, page, self.handed_on)

    def export_url(self, report: str) -> str:
        """The page that makes a file of this report with the same filters; "" where this person may not."""
        url = tab_url(self.site, self.request, "exports")
        query = f"report={report}&{self.handed_on}" if self.handed_on else f"report={report}"
        return f"{url}?{query}" if url else ""

    def drawn(self, name: str) -> Drawn | None:
        """One of the page's charts with the links to its files; None where there is nothing to draw."""
        chart = self.chart(name)
        return Drawn(chart, self.downloads(name)) if chart else None

    def chart(self, name: str) -> charts.Chart | None:
        draw: Callable[[], charts.Chart | None] = getattr(self, self.drawings[name])
        return draw()

    def downloads(self, name: str) -> list[Link]:
        if not may(self.request, "export_analytics"):
            return []
        query = self.request.GET.urlencode()
        found = []
        for extension, form in charts.files.FORMATS.items():
            if form.is_extra and not charts.files.has_renderer():
                continue
            url = page_url(self.site, "usageday_chart", self.page, name, extension)
            found.append(Link(form.name, f"{url}?{query}" if query else url))
        return found

    def form_notes(self) -> list[Note]:
        if not self.filter_class:
            return []
        days = _("Shown are the last 30 days.")
        return [Note("bad", text, days) for text in self.filter.errors_told]

    def late_note(self) -> list[Note]:
        """That roll-ups lag, for who can do something about it."""
        at, now = self.standing.folded_at, timezone.now()
        if at is None or now - at <= LATE:
            return []
        words = _("What was used since %(time)s is not in these figures.") % {"time": clock(at, now)}
        what = _("Roll-ups are made every few minutes. Look whether a worker and beat run.")
        return [Note("warn", words, what, page_url(self.site, "scheduledrun_changelist"), _("Schedules"))]
