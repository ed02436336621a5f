"""The live view: the last minute and hour. The page asks for the same figures as JSON, again and again.

Without a script the page shows them as they are, with a link that loads it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, JsonResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_token_pricing import analytics
from django_token_pricing.admin.analytics.base import DashboardView
from django_token_pricing.admin.analytics.filter_bar import name_of
from django_token_pricing.admin.analytics.section import may, page_url
from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.mixins import Link, may_view, object_url
from django_token_pricing.admin.base.wording import NOTHING, exact_clock, number, short
from django_token_pricing.admin.tokens import owners
from django_token_pricing.models import TokenAccount

LONGEST = 60


class LiveView(DashboardView):
    page = "live"
    title = gettext_lazy("Live")
    template_name = "django_token_pricing/admin/analytics/live.html"
    filter_class = None

    @classmethod
    def further_urls(cls, model_admin: Any, prefix: str) -> list[URLPattern]:
        def poll(request: HttpRequest) -> JsonResponse:
            if not may(request, *cls.permissions):
                raise PermissionDenied
            # Like all of the admin, it is not kept by browsers.
            return JsonResponse(figures(model_admin.admin_site, request))

        return [path("live/figures/", model_admin.admin_site.admin_view(poll), name=f"{prefix}_pulse")]

    def tools(self) -> list[Link]:
        return [Link(_("Load again"), self.request.path)]

    @property
    def reached(self) -> str:
        """Its figures have a time of their own."""
        return ""

    def panels(self) -> dict[str, Any]:
        found = figures(self.site, self.request)
        return {**found, "pulse_url": page_url(self.site, "usageday_pulse")}


def figures(site: Any, request: HttpRequest) -> dict[str, Any]:
    """What page and poll show: texts by their names, rows of tables, and the height of each of the last minutes."""
    found = analytics.live()
    may_accounts = may_view(site, request, TokenAccount)
    top = max(found.minutes, default=0)
    return {
        "texts": {
            "minute_tokens": about(short(found.minute.tokens), found.minute),
            "minute_requests": about(number(found.minute.requests), found.minute),
            "hour_tokens": about(short(found.hour.tokens), found.hour),
            "hour_requests": about(number(found.hour.requests), found.hour),
            "holds": number(found.held.holds) + ("+" if found.held.is_cut else ""),
            "held": short(found.held.tokens) + ("+" if found.held.is_cut else ""),
            "as_of": exact_clock(found.as_of),
            "last_use": exact_clock(found.last_used_at) if found.last_used_at else _("never"),
            "note": note(found),
            "users_since": _("since %(time)s") % {"time": exact_clock(found.users_since)},
        },
        "tables": {
            "users": users(site, found.users) if may_accounts else [],
            "models": [named("model", *part) for part in found.models],
            "features": [named("feature", *part) for part in found.features],
        },
        "minutes": [round(tokens / top * 100) if top else 0 for tokens in found.minutes],
        "may_view_accounts": may_accounts,
    }


def about(text: str, rate: analytics.Rate) -> str:
    """A figure that is scaled says so."""
    return text if rate.is_exact else _("about %(figure)s") % {"figure": text}


def note(found: analytics.Live) -> str:
    """What is not exact, and why."""
    if found.hour.is_exact:
        return _("All uses of the last hour are counted here.")
    parts = [
        _("There are more uses than are read at once: the last hour is taken from the roll-ups."),
        _("Users are those of the newest %(count)s uses.") % {"count": number(analytics.MOST_READ)},
    ]
    if not found.minute.is_exact:
        words = _("The minute is scaled from the %(count)s newest uses, the oldest of which is of %(time)s.")
        parts.insert(0, words % {"count": number(analytics.MOST_READ), "time": exact_clock(found.users_since)})
    return " ".join(parts)


def named(dimension: str, name: str, tokens: int, requests: int) -> list[str]:
    return [charts.clipped(name_of(dimension, name), LONGEST), "", short(tokens), number(requests)]


def users(site: Any, parts: Sequence[tuple[int, int, int]]) -> list[list[str]]:
    """One query."""
    rows = owners.with_owner(TokenAccount.objects.filter(pk__in=[account for account, _tokens, _count in parts]), "")
    names = {row.pk: owners.name(row.owner_login, row.owner_pool, row.pk) for row in rows}
    return [
        [
            charts.clipped(names.get(account, NOTHING), LONGEST),
            object_url(site, TokenAccount, account),
            short(tokens),
            number(requests),
        ]
        for account, tokens, requests in parts
    ]
