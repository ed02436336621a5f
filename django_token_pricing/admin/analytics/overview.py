"""The overview: is it normal, what drives it, when and who. Read from roll-ups in at most 15 queries."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import cached_property
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_token_pricing import analytics, conf
from django_token_pricing.admin.analytics import overview_charts, overview_tables
from django_token_pricing.admin.analytics.base import DashboardView
from django_token_pricing.admin.analytics.section import page_url
from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.mixins import Link, list_url, may_view
from django_token_pricing.admin.base.parts import Card, Note
from django_token_pricing.admin.base.wording import MINUS, NOTHING, change, money, number, per_cent, short
from django_token_pricing.models import TokenAccount

# Of fewer days a week has no shape.
LEAST_HEAT_DAYS = 7
MOST_ACCOUNTS = 8
MOST_NAMED = 3


class OverviewView(DashboardView):
    page = "overview"
    title = gettext_lazy("Overview")
    template_name = "django_token_pricing/admin/analytics/overview.html"
    drawings = {"usage": "usage_chart", "heat": "heat_chart", "burn-down": "burn_down_chart"}

    # What is read

    @cached_property
    def course(self) -> analytics.Course:
        unit, known = self.filter.wanted_unit, self.standing.known
        return analytics.series(self.period, self.filter.dimension, self.slice, unit=unit, known=known)

    @cached_property
    def flows(self) -> analytics.Flows:
        return analytics.flows(self.period, unit=self.filter.wanted_unit)

    @cached_property
    def heat(self) -> list[list[int]]:
        return analytics.heat(self.period, self.slice) if self.period.days >= LEAST_HEAT_DAYS else []

    @cached_property
    def margin(self) -> analytics.Margin:
        return analytics.margin(self.period, self.slice)

    # What is shown

    def tools(self) -> list[Link]:
        return [Link(_("Live"), self.tab_url("live")), Link(_("Export"), self.tab_url("exports"))]

    def usage_chart(self) -> charts.Chart | None:
        return overview_charts.usage(self.course, self.names, str(analytics.zone()))

    def heat_chart(self) -> charts.Chart | None:
        if not self.heat:
            return None
        return overview_charts.heat(self.heat, analytics.last_days(self.period), str(analytics.zone()))

    def burn_down_chart(self) -> charts.Chart | None:
        return overview_charts.burn_down(self.flows, self.period, str(analytics.zone()))

    def panels(self) -> dict[str, Any]:
        if self.is_empty:
            return {"is_empty": True, "was_folded": self.standing.folded_at is not None}
        return {
            "live_url": self.tab_url("live"),
            "pulse_url": page_url(self.site, "usageday_pulse"),
            "heading": overview_charts.titles()[self.filter.dimension],
            "switches": list(self.switches()),
            "units": list(self.units()),
            "ranking": overview_tables.ranking(self.course, self.names),
            "may_view_costs": self.may_view_costs,
            "currency": conf.current().DEFAULT_CURRENCY,
            "costs_url": self.tab_url("costs"),
            "busiest": overview_charts.busiest(self.heat),
            "busiest_tokens": short(max(map(max, self.heat), default=0)),
            "is_heat_cut": self.period.days > analytics.last_days(self.period).days,
            "is_short": self.period.days < LEAST_HEAT_DAYS,
            "lasting": self.lasting(),
            "is_filtered": self.is_filtered,
            "all_url": self.url_with(model=None, feature=None, tier=None),
            **self.top(),
        }

    @property
    def is_empty(self) -> bool:
        """Nothing was ever used and granted, or nothing was rolled up."""
        return self.standing.folded_at is None or (self.standing.first_day is None and not self.flows.opening_or_moved)

    @property
    def is_filtered(self) -> bool:
        return self.slice != analytics.ALL

    def top(self) -> dict[str, Any]:
        if not may_view(self.site, self.request, TokenAccount):
            return {"top": None}
        found = analytics.top_accounts(self.period.months(), MOST_ACCOUNTS)
        return {
            "top": overview_tables.top(found, self.site),
            "top_months": overview_tables.months_in_words(found.months),
            "top_is_proven": found.is_proven,
            "accounts_url": list_url(self.site, TokenAccount),
        }

    def switches(self) -> Iterator[Link]:
        words = {"model": _("Model"), "feature": _("Feature"), "tier": _("Tier")}
        for name, text in words.items():
            yield Link(text, self.url_with(by=name), is_current=name == self.filter.dimension)

    def units(self) -> Iterator[Link]:
        words = {"hour": _("Hour"), "day": _("Day"), "week": _("Week"), "month": _("Month")}
        found = analytics.units_of(self.period)
        for name in found if len(found) > 1 else ():
            yield Link(words[name], self.url_with(unit=name), is_current=name == self.course.unit)

    def lasting(self) -> str:
        """How long what is left lasts at the pace of these days, if nothing more is granted."""
        balance, used = self.flows.balances[-1], self.flows.now.consumed
        if balance <= 0 or used <= 0:
            return ""
        days = int(balance / (used / self.period.days))
        words = ngettext(
            "At the pace of these days it lasts %(days)s more day, if nothing more is granted.",
            "At the pace of these days it lasts %(days)s more days, if nothing more is granted.",
            days,
        )
        return words % {"days": number(days)}

    # Notes

    def notes(self) -> list[Note]:
        return [] if self.is_empty else [*self.late_note(), *self.unpriced_note()]

    def unpriced_note(self) -> list[Note]:
        """That some costs are not known, which is not the same as nothing."""
        whole = self.course.whole
        if not whole.unpriced or not self.may_view_costs:
            return []
        strong = _("Of %(share)s of the uses the cost is not known.") % {
            "share": per_cent(whole.unpriced / whole.requests)
        }
        text = _("They are counted as nothing in cost and margin.")
        if self.filter.dimension == "model":
            ranked = sorted(self.course.ranking, key=lambda one: -one.measures.unpriced)
            missing = [one.name or _("no model named") for one in ranked if one.measures.unpriced]
            shown = ", ".join(charts.clipped(name, 40) for name in missing[:MOST_NAMED])
            if more := len(missing) - MOST_NAMED if len(missing) > MOST_NAMED else 0:
                shown = ngettext("%(shown)s and %(count)s more", "%(shown)s and %(count)s more", more) % {
                    "shown": shown,
                    "count": number(more),
                }
            text = _("They are of %(models)s, and counted as nothing in cost and margin.") % {"models": shown}
        state = "warn" if whole.unpriced * 100 >= whole.requests else "info"
        return [Note(state, strong, text, self.tab_url("prices"), _("Model prices"))]

    # Cards

    def cards(self) -> list[Card]:
        return [] if self.is_empty else list(self._cards())

    def _cards(self) -> Iterator[Card]:
        flows, course = self.flows, self.course
        yield Card(
            _("Allocated"),
            short(flows.now.allocated),
            *compared(flows.now.allocated, flows.before.allocated),
            spark=spark("allocated", _("Allocated"), [column.allocated for column in flows.columns]),
        )
        yield Card(
            _("Consumed"),
            short(course.whole.tokens),
            *compared(course.whole.tokens, course.before.tokens),
            spark=spark("consumed", _("Consumed"), [point.tokens for point in course.points if point]),
        )
        yield self._available()
        held = analytics.held()
        words = _("in more than %(count)s open holds")
        if not held.is_cut:
            words = ngettext("in %(count)s open hold", "in %(count)s open holds", held.holds)
        yield Card(_("Held now"), short(held.tokens), note=words % {"count": number(held.holds)})
        yield Card(
            _("Expired"),
            short(flows.now.expired),
            *compared(flows.now.expired, flows.before.expired, self._expiring()),
            spark=spark("expired", _("Expired"), [column.expired for column in flows.columns]),
        )
        yield self._utilisation()
        if self.may_view_costs:
            yield from self._money()

    def _available(self) -> Card:
        tiers = () if self.slice.models or self.slice.features else self.slice.tiers
        tokens, accounts = self.standing.available(tiers), self.standing.accounts(tiers)
        if tokens is None or accounts is None:
            return Card(_("Available now"), NOTHING, note=_("no totals yet: they come with the next refresh"))
        words = ngettext("in %(count)s account", "in %(count)s accounts", accounts)
        if tiers:
            words = ngettext("in %(count)s account of these tiers", "in %(count)s accounts of these tiers", accounts)
        words = words % {"count": number(accounts)}
        balances = self.flows.balances
        return Card(_("Available now"), short(tokens), note=words, spark=spark("left", _("Balance"), balances))

    def _expiring(self) -> str:
        found = self.standing.expiring
        return _("%(tokens)s more within 7 days") % {"tokens": short(found[1])} if found else ""

    def _utilisation(self) -> Card:
        now, before = self.flows.now, self.flows.before
        if now.allocated <= 0:
            return Card(_("Utilisation"), NOTHING, note=_("nothing was allocated in these days"))
        share = now.consumed / now.allocated
        strong = points(share - before.consumed / before.allocated) if before.allocated > 0 else ""
        note = _("vs before") if strong else _("of what was allocated")
        return Card(_("Utilisation"), per_cent(share), strong, note)

    def _money(self) -> Iterator[Card]:
        currency, whole, before = conf.current().DEFAULT_CURRENCY, self.course.whole, self.course.before
        costs = [float(point.cost) for point in self.course.points if point]
        yield Card(
            _("Cost"),
            money(whole.cost, currency),
            *compared(whole.cost, before.cost),
            spark=spark("cost", _("Cost"), [round(cost * 1_000_000) for cost in costs]),
        )
        margin = self.margin
        share, earlier = margin.whole.share, margin.before.share
        if share is None:
            yield Card(_("Margin"), NOTHING, note=_("no revenue in these days"))
            return
        strong = points(share - earlier) if earlier is not None else ""
        left = _("%(amount)s after cost") % {"amount": money(margin.whole.margin, margin.currency)}
        if margin.whole.apart:
            others = ", ".join(money(amount, name) for name, amount in sorted(margin.whole.apart.items()))
            left = _("%(left)s, and %(others)s without a rate") % {"left": left, "others": others}
        yield Card(
            _("Margin"), signed_share(share), strong, _("vs before; %(left)s") % {"left": left} if strong else left
        )


def compared(now: int | Decimal, before: int | Decimal, further: str = "") -> tuple[str, str]:
    """How much more or less than before, and against what."""
    if before <= 0:
        return "", further or _("nothing before")
    versus = _("vs before")
    return change(now, before), f"{versus}, {further}" if further else versus  # type: ignore[arg-type]


def points(difference: float) -> str:
    """A difference of shares, in points."""
    size = round(abs(difference) * 100, 1)
    sign = "±" if size == 0 else "+" if difference > 0 else MINUS
    return _("%(sign)s%(size)s pt") % {"sign": sign, "size": f"{size:g}"}


def signed_share(share: float) -> str:
    return f"{MINUS}{per_cent(-share)}" if share < 0 else per_cent(share)


def spark(name: str, title: str, values: list[int]) -> Any:
    """The shape of a card; None where there is none."""
    if len(values) < 2 or not any(values):
        return None
    return charts.sparkline(f"tp-spark-{name}", title=title, values=values)
