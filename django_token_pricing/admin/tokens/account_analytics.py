"""One account over months: when it uses tokens and for what, what that costs and brings in, and how long it lasts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from django_token_pricing import analytics, conf, tokens
from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.mixins import Link, list_url, object_url
from django_token_pricing.admin.base.wording import NOTHING, money, month, number, per_cent, short, short_day
from django_token_pricing.admin.tokens import account_charts, owners
from django_token_pricing.admin.tokens.views import AccountPage
from django_token_pricing.models import TokenAccount

MONTHS = 12
MOST_PARTS = 10


@dataclass(frozen=True, slots=True)
class PartRow:
    name: str
    uses: str
    tokens: str
    share: str
    cost: str


@dataclass(frozen=True, slots=True)
class MonthRow:
    name: str
    uses: str
    tokens: str
    cost: str
    revenue: str
    margin: str
    is_loss: bool


@dataclass(frozen=True, slots=True)
class Drawn:
    """As the template of charts takes it; files are of dashboards alone."""

    chart: charts.Chart
    downloads: tuple[Link, ...] = ()


class AccountAnalytics:
    """Gathers the page for one person at one moment; `response` draws it."""

    def __init__(self, model_admin: ModelAdmin[TokenAccount], request: HttpRequest, account: TokenAccount) -> None:
        self.model_admin = model_admin
        self.request = request
        self.account = account
        self.as_of: datetime = timezone.now()
        self.may_costs = request.user.has_perm("django_token_pricing.view_costs")

    @cached_property
    def pattern(self) -> analytics.Pattern:
        return analytics.pattern(self.account, as_of=self.as_of, with_costs=self.may_costs)

    def response(self) -> HttpResponse:
        # As the stock views do: links in templates stay on this site.
        site = self.model_admin.admin_site
        self.request.current_app = site.name
        name = owners.name_of(self.account)
        page = object_url(site, TokenAccount, self.account.pk)
        plural = capfirst(str(self.model_admin.opts.verbose_name_plural))
        context = {
            **site.each_context(self.request),
            "opts": self.model_admin.opts,
            "media": self.model_admin.media,
            "title": _("Analytics of %(name)s") % {"name": name},
            "trail": [Link(plural, list_url(site, TokenAccount)), Link(name, page)],
            "tabs": self.model_admin.tabs(self.request),  # type: ignore[attr-defined]
            "section_name": self.model_admin.section_name,  # type: ignore[attr-defined]
            "tools": [Link(_("Account"), page)],
            "may_costs": self.may_costs,
            "zone": str(analytics.zone()),
            **self.lasting(),
            **self.drawn(),
            "models": self.parts(self.pattern.models, _("No model named")),
            "features": self.parts(self.pattern.features, _("No feature named")),
            "months": self.months() if self.may_costs else None,
        }
        return TemplateResponse(self.request, "django_token_pricing/admin/tokens/account_analytics.html", context)

    def lasting(self) -> dict[str, Any]:
        """What is left and when it runs dry, in the cards of the account's own page."""
        own = AccountPage(self.model_admin, self.request, self.account, self.as_of)
        found = own.spent_and_left(tokens.balance(self.account))
        return {"cards": found["cards"], "lots_note": found["lots_note"]}

    def drawn(self) -> dict[str, Any]:
        found = self.pattern
        days, heat = account_charts.days(found), account_charts.heat(found)
        note = ""
        if found.is_cut:
            words = _("This account is used so much that only its last %(count)s uses are summed here, all of today.")
            note = words % {"count": number(sum(part.requests for part in found.models))}
        elif found.is_short:
            words = _("This account is used so much that only the days since %(day)s are summed here.")
            note = words % {"day": short_day(found.since)}
        return {
            "days": Drawn(days) if days else None,
            "heat": Drawn(heat) if heat else None,
            "busiest": account_charts.busiest(found),
            "active": _("%(active)s of %(days)s days with use")
            % {"active": number(found.active_days), "days": number((found.last - found.since).days + 1)},
            "note": note,
        }

    def parts(self, found: list[analytics.Part], unnamed: str) -> list[PartRow]:
        """The largest, and the rest as one."""
        shown, rest = found[:MOST_PARTS], found[MOST_PARTS:]
        if rest:
            other = analytics.Part(
                _("%(count)s others") % {"count": number(len(rest))},
                requests=sum(part.requests for part in rest),
                tokens=sum(part.tokens for part in rest),
                cost=sum((part.cost for part in rest), Decimal(0)),
                unpriced=sum(part.unpriced for part in rest),
            )
            shown = [*shown, other]
        whole = self.pattern.tokens
        return [
            PartRow(
                name=charts.clipped(part.name or unnamed, 60),
                uses=number(part.requests),
                tokens=short(part.tokens),
                share=per_cent(part.tokens / whole) if whole else NOTHING,
                cost=self.cost(part.cost, part.unpriced, part.requests),
            )
            for part in shown
        ]

    def months(self) -> list[MonthRow]:
        """The newest first. Months are those of the roll-ups."""
        months = analytics.Period(_first(self.as_of), self.as_of.astimezone(analytics.zone()).date() + timedelta(1))
        return [
            MonthRow(
                name=month(line.name),
                uses=number(line.requests),
                tokens=short(line.tokens),
                cost=self.cost(line.cost, line.unpriced, line.requests),
                revenue=self.money(line.revenue),
                margin=NOTHING if line.requests and line.unpriced == line.requests else self.money(line.margin),
                is_loss=line.margin < 0 and not line.apart,
            )
            for line in reversed(analytics.margin_of_account(self.account.pk, months.months()))
        ]

    def cost(self, cost: Decimal, unpriced: int, requests: int) -> str:
        """A dash where it is not known of any use; with a sign where of some."""
        if requests and unpriced == requests:
            return NOTHING
        return _("over %(cost)s") % {"cost": self.money(cost)} if unpriced else self.money(cost)

    def money(self, value: Decimal) -> str:
        return money(value, conf.current().DEFAULT_CURRENCY)


def _first(as_of: datetime) -> Any:
    """The first day of the first of the months that are shown."""
    today = as_of.astimezone(analytics.zone()).date()
    place = today.year * 12 + today.month - 1 - (MONTHS - 1)
    return today.replace(year=place // 12, month=place % 12 + 1, day=1)
