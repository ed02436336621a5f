"""The pages of the section Analytics: their tabs, in one order on each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext_lazy as _

from django_token_pricing.admin.base.mixins import Link

APP = "django_token_pricing"
NAME: Any = _("Analytics")


@dataclass(frozen=True, slots=True)
class Tab:
    """A page, the name of its address without the app's, and what a person needs to open it."""

    page: str
    text: Any
    route: str
    permissions: tuple[str, ...] = ("view_analytics",)
    # Stock lists refuse parameters that they do not know.
    is_filtered: bool = True


TABS = (
    Tab("overview", _("Overview"), "usageday_changelist"),
    Tab("live", _("Live"), "usageday_live"),
    Tab("costs", _("Cost and margin"), "usageday_costs", ("view_analytics", "view_costs")),
    Tab("utilisation", _("Utilisation"), "usageday_utilisation"),
    Tab("forecast", _("Forecast"), "usageday_forecast"),
    Tab("anomalies", _("Anomalies"), "anomaly_changelist", ("view_anomaly",), is_filtered=False),
    Tab("prices", _("Model prices"), "modelprice_changelist", ("view_modelprice",), is_filtered=False),
    Tab("exports", _("Exports"), "usageday_exports", ("view_analytics", "export_analytics")),
)


def may(request: HttpRequest, *permissions: str) -> bool:
    return all(request.user.has_perm(f"{APP}.{name}") for name in permissions)


def page_url(site: AdminSite, route: str, *args: Any) -> str:
    """The address of a page of ours on this site; "" where the site does not have it."""
    try:
        return reverse(f"admin:{APP}_{route}", args=args, current_app=site.name)
    except NoReverseMatch:
        return ""


def tab_url(site: AdminSite, request: HttpRequest, page: str, query: str = "") -> str:
    """The address of a tab with these filters if it takes any, or "" where this person may not open it."""
    tab = next(tab for tab in TABS if tab.page == page)
    url = page_url(site, tab.route) if may(request, *tab.permissions) else ""
    return f"{url}?{query}" if url and query and tab.is_filtered else url


def tabs(site: AdminSite, request: HttpRequest, current: str, query: str = "") -> list[Link]:
    """Those that this person may open. What is filtered on one is filtered on the next."""
    return [
        Link(str(tab.text), url, is_current=tab.page == current)
        for tab in TABS
        if (url := tab_url(site, request, tab.page, query))
    ]
