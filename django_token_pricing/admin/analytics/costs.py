"""Cost and margin: what was earned, what it cost, what is left, and by what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

import django_filters
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_token_pricing import analytics
from django_token_pricing.admin.analytics import cost_charts
from django_token_pricing.admin.analytics.base import DashboardView
from django_token_pricing.admin.analytics.filter_bar import name_of
from django_token_pricing.admin.analytics.overview import compared, points, signed_share
from django_token_pricing.admin.analytics.overview_tables import months_in_words
from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.mixins import Link, list_url, may_view, object_url
from django_token_pricing.admin.base.parts import Card, Note
from django_token_pricing.admin.base.wording import NOTHING, money, month, number, per_cent, short
from django_token_pricing.admin.tokens import owners
from django_token_pricing.filters.analytics import AnalyticsFilter
from django_token_pricing.models import TokenAccount

# Lines of a table; what is below the last is summed.
MOST_LINES = 20
MOST_ACCOUNTS = 10
MOST_MONTHS = 12
MOST_NAMED = 3


class CostsFilter(AnalyticsFilter):
    by = django_filters.ChoiceFilter(
        label=gettext_lazy("By"),
        choices=[
            ("model", gettext_lazy("Model")),
            ("feature", gettext_lazy("Feature")),
            ("tier", gettext_lazy("Tier")),
            ("month", gettext_lazy("Month")),
        ],
    )
    accounts = django_filters.ChoiceFilter(
        label=gettext_lazy("Accounts"),
        choices=[("cost", gettext_lazy("Highest cost")), ("margin", gettext_lazy("Lowest margin"))],
    )

    @property
    def order(self) -> str:
        return str(self._given("accounts") or "cost")


@dataclass(frozen=True, slots=True)
class Row:
    """A line in words; `url` leads to an account."""

    name: str
    tokens: str
    cost: str
    revenue: str
    margin: str
    share: str
    unpriced: str
    is_loss: bool = False
    url: str = ""
    tier: str = ""


class CostsView(DashboardView):
    page = "costs"
    title = gettext_lazy("Cost and margin")
    permissions = ("view_analytics", "view_costs")
    template_name = "django_token_pricing/admin/analytics/costs.html"
    filter_class = CostsFilter
    drawings = {"course": "course_chart"}

    # What is read

    @cached_property
    def margin(self) -> analytics.Margin:
        return analytics.margin(self.period, self.slice)

    @cached_property
    def breakdown(self) -> analytics.Breakdown:
        return analytics.margin_by(self.period, self.filter.dimension, self.slice)

    def course_chart(self) -> charts.Chart | None:
        return cost_charts.course(self.period, self.slice, self.margin.currency, str(analytics.zone()))

    # What is shown

    def tools(self) -> list[Link]:
        return [Link(_("Export"), self.export_url("margin"))]

    @property
    def is_empty(self) -> bool:
        whole = self.margin.whole
        return not (whole.requests or whole.revenue or whole.apart)

    def panels(self) -> dict[str, Any]:
        found = self.breakdown
        return {
            "is_empty": self.is_empty,
            "currency": self.margin.currency,
            "switches": list(self.switches()),
            "rows": list(self.rows()),
            "breakage": self.row(found.breakage, _("Expired unused")) if found.breakage else None,
            "whole": self.row(found.whole, _("All")),
            "by": self.filter.dimension,
            "earned": [self.earned(one) for one in self.margin.earned],
            **self.accounts(),
        }

    def switches(self) -> Iterator[Link]:
        words = {"model": _("Model"), "feature": _("Feature"), "tier": _("Tier"), "month": _("Month")}
        for name, text in words.items():
            yield Link(text, self.url_with(by=name), is_current=name == self.filter.dimension)

    def rows(self) -> Iterator[Row]:
        lines, dimension = self.breakdown.lines, self.filter.dimension
        shown = lines if dimension == "month" else lines[:MOST_LINES]
        for line in shown:
            name = month(line.name) if dimension == "month" else charts.clipped(name_of(dimension, line.name), 40)
            yield self.row(line, name)
        if rest := lines[len(shown) :]:
            words = ngettext("%(count)s other", "%(count)s others", len(rest)) % {"count": number(len(rest))}
            yield self.row(analytics.added(rest), words)

    def row(self, line: analytics.Line, name: str, **more: Any) -> Row:
        share = line.share
        # Where no cost is known, the margin is not either.
        is_known = not line.requests or line.unpriced < line.requests
        return Row(
            name=name,
            tokens=short(line.tokens) if line.requests else NOTHING,
            cost=self.money(line.cost) if is_known else NOTHING,
            revenue=self.money(line.revenue),
            margin=self.money(line.margin) if is_known else NOTHING,
            share=signed_share(share) if share is not None and is_known else NOTHING,
            unpriced=number(line.unpriced) if line.unpriced else "",
            is_loss=is_known and line.margin < 0 and not line.apart,
            **more,
        )

    def earned(self, one: analytics.Earned) -> dict[str, str]:
        parts = {name: getattr(one, name) for name in ("used", "refunded", "breakage", "amount")}
        told = {name: money(value, one.currency) for name, value in parts.items()}
        return {
            **told,
            "currency": one.currency,
            "converted": NOTHING if one.converted is None else self.money(one.converted),
        }

    def accounts(self) -> dict[str, Any]:
        """Of whole months: accounts have no days of their own."""
        if not may_view(self.site, self.request, TokenAccount):
            return {"accounts": None}
        months, order = self.period.months()[-MOST_MONTHS:], self.filter.order
        found = analytics.margin_by_account(months, n=MOST_ACCOUNTS, order=order)
        numbers = [line.name for line in found.lines]
        named = owners.with_owner(TokenAccount.objects.filter(pk__in=numbers), path="")
        names = {
            pk: (owners.name(login, pool, pk), tier)
            for pk, login, pool, tier in named.values_list("pk", "owner_login", "owner_pool", "tier")
        }
        orders = {"cost": _("Highest cost"), "margin": _("Lowest margin")}
        rows = []
        for line in found.lines:
            name, tier = names.get(line.name, (owners.name(None, None, line.name), ""))
            rows.append(
                self.row(
                    line,
                    owners.breakable(name),
                    tier=tier or NOTHING,
                    url=object_url(self.site, TokenAccount, line.name),
                )
            )
        return {
            "accounts": rows,
            "orders": [
                Link(text, self.url_with(accounts=name), is_current=name == order) for name, text in orders.items()
            ],
            "months": months_in_words(months),
            "is_certain": found.is_certain,
            "accounts_url": list_url(self.site, TokenAccount),
        }

    def money(self, value: Decimal) -> str:
        return money(value, self.margin.currency)

    # Notes and cards

    def notes(self) -> list[Note]:
        return [] if self.is_empty else [*self.late_note(), *self.unpriced_note(), *self.apart_note()]

    def unpriced_note(self) -> list[Note]:
        """That some costs are not known, which is not the same as nothing."""
        whole = self.margin.whole
        if not whole.unpriced:
            return []
        share = {"share": per_cent(whole.unpriced / whole.requests)}
        text = _("They add nothing to the cost here, so the margin is shown too high.")
        if self.filter.dimension == "model":
            missing = [name_of("model", line.name) for line in self.breakdown.lines if line.unpriced]
            shown = ", ".join(charts.clipped(name, 40) for name in missing[:MOST_NAMED])
            if (more := len(missing) - MOST_NAMED) > 0:
                words = ngettext("%(shown)s and %(count)s more", "%(shown)s and %(count)s more", more)
                shown = words % {"shown": shown, "count": number(more)}
            text = _("They are of %(models)s. They add nothing to the cost, so the margin is shown too high.") % {
                "models": shown
            }
        strong = _("Of %(share)s of the uses the cost is not known.") % share
        return [Note("warn", strong, text, self.tab_url("prices"), _("Model prices"))]

    def apart_note(self) -> list[Note]:
        if not self.margin.whole.apart:
            return []
        amounts = ", ".join(money(amount, name) for name, amount in sorted(self.margin.whole.apart.items()))
        strong = _("%(amounts)s of revenue are not in the margin.") % {"amounts": amounts}
        text = _("There is no exchange rate to %(currency)s. Whoever runs the site sets EXCHANGE_RATES.")
        return [Note("info", strong, text % {"currency": self.margin.currency})]

    def cards(self) -> list[Card]:
        return [] if self.is_empty else list(self._cards())

    def _cards(self) -> Iterator[Card]:
        whole, before = self.margin.whole, self.margin.before
        yield Card(_("Revenue"), self.money(whole.revenue), *compared(whole.revenue, before.revenue))
        yield Card(_("Cost"), self.money(whole.cost), *compared(whole.cost, before.cost))
        share, earlier = whole.share, before.share
        if share is None:
            yield Card(_("Margin"), self.money(whole.margin), note=_("no revenue in these days"))
        else:
            note = _("%(share)s of the revenue") % {"share": signed_share(share)}
            if earlier is None:
                yield Card(_("Margin"), self.money(whole.margin), note=note)
            else:
                yield Card(
                    _("Margin"),
                    self.money(whole.margin),
                    points(share - earlier),
                    _("vs before; %(note)s") % {"note": note},
                )
        yield Card(_("Breakage"), self.money(whole.breakage), note=_("paid for tokens that expired unused"))
        words = ngettext("of %(count)s use", "of %(count)s uses", whole.requests) % {"count": number(whole.requests)}
        yield Card(_("Uses without a cost"), number(whole.unpriced), note=words)
