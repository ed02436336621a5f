"""The forecast: what is to come, between what and what, and how wrong the method was before.

It shows what a worker has made and stored; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Any

from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_token_pricing import analytics, conf
from django_token_pricing.admin.analytics import forecast_worth as worth
from django_token_pricing.admin.analytics.base import DashboardView
from django_token_pricing.admin.analytics.section import page_url
from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.charts import Chart, Row
from django_token_pricing.admin.base.mixins import Link
from django_token_pricing.admin.base.parts import Card, Note
from django_token_pricing.admin.base.wording import (
    NOTHING,
    amount,
    day,
    moment,
    money,
    number,
    per_cent,
    short,
    short_day,
)
from django_token_pricing.choices import ForecastMetric, ForecastScope
from django_token_pricing.models import Forecast

HORIZONS = (7, 14, 30, 90)
DEFAULT = 30
# Days that the chart shows of what was.
SHOWN = 60
# A forecast that is older says less than it could.
OLD_DAYS = 2


class ForecastView(DashboardView):
    page = "forecast"
    title = gettext_lazy("Forecast")
    template_name = "django_token_pricing/admin/analytics/forecast.html"
    filter_class = None
    drawings = {"forecast": "forecast_chart"}

    # What is asked for

    @cached_property
    def metric(self) -> str:
        wanted = self.request.GET.get("metric", "")
        is_cost = wanted == ForecastMetric.COST and self.may_view_costs
        return ForecastMetric.COST.value if is_cost else ForecastMetric.TOKENS.value

    @cached_property
    def horizon(self) -> int:
        text = self.request.GET.get("days", "")
        return int(text) if text in {str(days) for days in HORIZONS} else DEFAULT

    @cached_property
    def whole(self) -> dict[str, list[str]]:
        return analytics.forecast_names()

    @cached_property
    def of(self) -> tuple[str, str]:
        """Scope and name; the site for what there is no forecast of."""
        scope, _separator, name = self.request.GET.get("of", "").partition(":")
        return (scope, name) if name and name in self.whole.get(scope, []) else (ForecastScope.SITE.value, "")

    @cached_property
    def forecast(self) -> Forecast | None:
        return analytics.newest_forecast(*self.of, self.metric)

    @property
    def points(self) -> list[Any]:
        return self.forecast.points[: self.horizon] if self.forecast else []

    # What is shown

    def panels(self) -> dict[str, Any]:
        shown = self.forecast
        return {
            "forecast": shown,
            "is_empty": shown is None,
            "schedules_url": page_url(self.site, "scheduledrun_changelist"),
            "horizons": [
                Link(self.days_told(days), self.url_with(days=str(days)), is_current=days == self.horizon)
                for days in HORIZONS
            ],
            "metrics": list(self.metrics()),
            "choices": list(self.choices()),
            "hidden": [(name, self.request.GET[name]) for name in ("metric", "days") if name in self.request.GET],
            "heading": self.heading(),
            "lead": self.lead(),
            "errors": list(worth.errors(self.forecast, self.off_a_day)),
            "verdict": worth.verdict(self.forecast),
            "error_lead": worth.lead(self.forecast),
            "days": list(self.day_rows()),
            "made": self.made(),
        }

    def days_told(self, days: int) -> str:
        return ngettext("%(count)s day", "%(count)s days", days) % {"count": number(days)}

    def metrics(self) -> Iterator[Link]:
        if self.may_view_costs:
            for value, label in ForecastMetric.choices:
                yield Link(str(label), self.url_with(metric=value), is_current=value == self.metric)

    def choices(self) -> Iterator[tuple[str, list[tuple[str, str, bool]]]]:
        """By heading, what there is a forecast of."""
        words = {ForecastScope.TIER.value: _("Tier"), ForecastScope.MODEL.value: _("Model")}
        for scope, text in words.items():
            names = self.whole.get(scope, [])
            if names:
                yield text, [(f"{scope}:{name}", name, (scope, name) == self.of) for name in names]

    def heading(self) -> str:
        what = _("Cost") if self.metric == ForecastMetric.COST else _("Tokens")
        scope, name = self.of
        if scope == ForecastScope.SITE:
            return _("%(what)s of the site") % {"what": what}
        words = _("%(what)s of tier %(name)s") if scope == ForecastScope.TIER else _("%(what)s of %(name)s")
        return words % {"what": what, "name": charts.clipped(name, 60)}

    def told(self, value: float) -> str:
        if self.metric == ForecastMetric.COST:
            return money(Decimal(repr(round(value, 6))), conf.current().DEFAULT_CURRENCY)
        return short(value)

    def off_a_day(self, error: float) -> str:
        return self.exact(error) if error >= 10 else self.told(error)

    @property
    def unit(self) -> str:
        return conf.current().DEFAULT_CURRENCY if self.metric == ForecastMetric.COST else _("tokens")

    def plain(self, value: float) -> str:
        """Money whose currency is said elsewhere."""
        return amount(Decimal(repr(round(value, 6))))

    def exact(self, value: float | None) -> str:
        if value is None:
            return NOTHING
        return self.told(value) if self.metric == ForecastMetric.COST else number(round(value))

    def lead(self) -> str:
        """The sum, its interval, and what the method is worth."""
        if not self.points:
            return ""
        total, low, high = (sum(float(point[place]) for point in self.points) for place in (1, 2, 3))
        return _(
            "%(total)s in the next %(days)s; between %(low)s and %(high)s if all days were off to the same side."
        ) % {
            "total": self.told(total),
            "days": self.days_told(len(self.points)),
            "low": self.told(low),
            "high": self.told(high),
        }

    def made(self) -> str:
        shown = self.forecast
        if shown is None:
            return ""
        return _("Made %(when)s from the days %(first)s to %(last)s.") % {
            "when": moment(shown.made_at),
            "first": day(shown.first_day),
            "last": day(shown.last_day),
        }

    def cards(self) -> list[Card]:
        if not self.points or self.forecast is None:
            return []
        total = sum(point[1] for point in self.points)
        before = [value for _day, value in self.measured[-self.horizon :] if value is not None]
        words = _("in %(days)s") % {"days": self.days_told(len(self.points))}
        cards = [Card(_("Expected"), self.told(total), note=words)]
        came: float = sum(before, 0.0)
        if len(before) == self.horizon and came:
            share = total / came - 1
            strong = ("+" if share > 0 else "\N{MINUS SIGN}" if share < 0 else "±") + per_cent(abs(share))
            words = _("%(change)s against the same number of days before") % {"change": strong}
            cards.append(Card(_("Measured before"), self.told(came), note=words))
        error = self.forecast.backtest["errors"].get(self.forecast.method)
        if error and error["wape"] is not None:
            note = _("of what came, over %(days)s of the past") % {"days": self.days_told(error["days"])}
            cards.append(Card(_("Off in the past"), worth.tenths(error["wape"]), note=note))
        cards.append(Card(_("Method"), worth.short_name(self.forecast.method), note=self.better_note()))
        return cards

    def better_note(self) -> str:
        return _("beats both naive ones") if self.forecast and self.forecast.is_better else _("a naive baseline")

    def notes(self) -> list[Note]:
        shown, now = self.forecast, timezone.now()
        found = [verdict] if (verdict := worth.verdict(shown)) is not None and not (shown and shown.is_better) else []
        if shown is not None and (now - shown.made_at).days >= OLD_DAYS:
            words = _("This forecast is %(age)s old.") % {"age": timesince(shown.made_at, now)}
            what = _("They are made each day. Look whether a worker and beat run.")
            found.append(Note("warn", words, what, page_url(self.site, "scheduledrun_changelist"), _("Schedules")))
        return found

    # Days

    @cached_property
    def measured(self) -> list[tuple[date, float | None]]:
        return analytics.forecast_history(self.forecast, max(SHOWN, self.horizon)) if self.forecast else []

    def day_rows(self) -> Iterator[dict[str, str]]:
        for text, value, low, high in self.points:
            yield {
                "day": day(date.fromisoformat(text)),
                "value": self.exact(value),
                "low": self.exact(low),
                "high": self.exact(high),
            }

    def forecast_chart(self) -> Chart | None:
        if not self.points or self.forecast is None:
            return None
        measured = self.measured[-SHOWN:]
        said = dict(self.forecast.backtest["said"])
        back_test = [said.get(at.isoformat()) for at, _value in measured]
        while back_test and back_test[0] is None:
            back_test.pop(0)
        days = [at for at, _value in measured] + [date.fromisoformat(point[0]) for point in self.points]
        values, low, high = ([point[place] for point in self.points] for place in (1, 2, 3))
        title = self.heading()
        scale = charts.TOKENS if self.metric == ForecastMetric.TOKENS else charts.Scale(self.plain, is_whole=False)
        return charts.Chart(
            title=title,
            about=_("%(unit)s by the day, %(zone)s") % {"unit": self.unit, "zone": analytics.zone()},
            svg=charts.forecast(
                "tp-forecast",
                title=title,
                description=self.lead(),
                labels=[short_day(at) for at in days],
                measured=[value for _at, value in measured],
                back_test=back_test,
                ahead=values,
                low=low,
                high=high,
                height=240,
                every=charts.every(len(days)),
                tips=[day(at) for at in days],
                scale=scale,
            ),
            table=charts.Table(
                [_("Day"), _("Measured"), _("Back-test"), _("Forecast"), _("Low"), _("High")],
                list(self.chart_rows(measured, said)),
                self.exact,
            ),
            keys=charts.forecast_keys(with_back_test=bool(back_test)),
        )

    def chart_rows(self, measured: Sequence[tuple[date, float | None]], said: dict[str, float]) -> Iterator[Row]:
        for at, value in measured:
            key = at.isoformat()
            yield charts.Row(day(at), key, [value, said.get(key), None, None, None])
        for key, value, low, high in self.points:
            yield charts.Row(day(date.fromisoformat(key)), key, [None, None, value, low, high])
