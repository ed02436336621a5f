"""The filters above a dashboard: links for the usual days, two fields for others, selects, and chips for what is set.

All of it is links and plain forms; what is set by one form is carried on by the others in hidden fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_token_pricing import analytics
from django_token_pricing.admin.base.charts import clipped
from django_token_pricing.admin.base.mixins import Link
from django_token_pricing.admin.base.wording import day, short_day
from django_token_pricing.filters.analytics import EARLIEST, UNNAMED, AnalyticsFilter, Range

DAYS = ("range", "first", "last")
MOST_OPTIONS = 200
LONGEST = 40
WORDS: dict[str, tuple[Any, Any, Any]] = {
    "model": (gettext_lazy("Model"), gettext_lazy("All models"), gettext_lazy("And model…")),
    "feature": (gettext_lazy("Feature"), gettext_lazy("All features"), gettext_lazy("And feature…")),
    "tier": (gettext_lazy("Tier"), gettext_lazy("All tiers"), gettext_lazy("And tier…")),
}
UNNAMED_WORDS: dict[str, Any] = {
    "model": gettext_lazy("No model named"),
    "feature": gettext_lazy("No feature named"),
    "tier": gettext_lazy("No tier"),
}


def name_of(dimension: str, name: str) -> str:
    """The name of a model, feature or tier for people; usage may name none."""
    return name or str(UNNAMED_WORDS[dimension])


@dataclass(frozen=True, slots=True)
class Select:
    name: str
    label: str
    nothing: str
    options: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class FilterBar:
    """What the template of the filters shows."""

    request: HttpRequest
    filter: AnalyticsFilter
    names: analytics.Names
    today: date

    @property
    def presets(self) -> Iterator[Link]:
        for value, label in Range.choices:
            if value != Range.CUSTOM:
                url = self._url(self._without(*DAYS), range=value)
                yield Link(str(label), url, is_current=value == self.filter.preset)

    @property
    def is_custom(self) -> bool:
        return self.filter.preset == Range.CUSTOM or bool(self.filter.errors_told)

    @property
    def days(self) -> str:
        """“24 Oct – 22 Nov 2026”, and the days that these are compared with."""
        period = self.filter.period
        return _("%(days)s, before: %(before)s") % {"days": span(period), "before": span(period.before)}

    @property
    def first(self) -> str:
        return self.filter.period.first.isoformat()

    @property
    def last(self) -> str:
        return self.filter.period.last.isoformat()

    @property
    def earliest(self) -> str:
        return EARLIEST.isoformat()

    @property
    def latest(self) -> str:
        return self.today.isoformat()

    @property
    def selects(self) -> Iterator[Select]:
        for dimension in self.filter.dimensions:
            label, nothing, further = WORDS[dimension]
            chosen = self.filter.names(dimension)
            options = [
                (name or UNNAMED, clipped(name_of(dimension, name), LONGEST))
                for name in sorted(self.names.of(dimension))[:MOST_OPTIONS]
                if (name or UNNAMED) not in chosen
            ]
            yield Select(dimension, str(label), str(further if chosen else nothing), options)

    @property
    def chips(self) -> Iterator[Link]:
        for dimension in self.filter.dimensions:
            chosen = self.filter.names(dimension)
            for name in chosen:
                rest = self._without()
                rest.setlist(dimension, [other for other in chosen if other != name])
                shown = name_of(dimension, "" if name == UNNAMED else name)
                text = _("%(what)s: %(name)s") % {"what": WORDS[dimension][0], "name": clipped(shown, LONGEST)}
                yield Link(text, self._url(rest))

    @property
    def all_url(self) -> str:
        return self._url(self._without(*self.filter.dimensions))

    @property
    def hidden_for_names(self) -> list[tuple[str, str]]:
        """What the form of the selects carries on."""
        return self._pairs(self._without())

    @property
    def hidden_for_days(self) -> list[tuple[str, str]]:
        return self._pairs(self._without(*DAYS))

    def _without(self, *names: str) -> QueryDict:
        """The parameters of the page without some, and without its place in a list."""
        given = self.request.GET.copy()
        for name in (*names, "p"):
            given.pop(name, None)
        return given

    def _url(self, given: QueryDict, **changes: str) -> str:
        for name, value in changes.items():
            given[name] = value
        return f"{self.request.path}?{given.urlencode()}" if given else self.request.path

    def _pairs(self, given: QueryDict) -> list[tuple[str, str]]:
        return [(name, value) for name, values in given.lists() for value in values if value]


def span(period: analytics.Period) -> str:
    """The days in words, with the year where it is not plain."""
    if period.days == 1:
        return day(period.first)
    first = short_day(period.first) if period.first.year == period.last.year else day(period.first)
    return f"{first} – {day(period.last)}"
