"""What a page of analytics is about: which days, and which tiers, models and features. It lives in the URL.

A page takes `period` and `slice` from it and asks `analytics` for figures. Where the days that are asked for cannot be
shown, the form says why, and the page shows those of the first choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import cached_property
from typing import Any

import django_filters
from django import forms
from django.db.models import QuerySet, TextChoices
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_token_pricing import analytics
from django_token_pricing.exceptions import InvalidPeriod
from django_token_pricing.models import UsageDay

# In the URL, for usage that names none; an empty parameter is one that was not filled in.
UNNAMED = "(none)"
MOST_NAMES = 20
LONGEST_NAME = 200
# Before, days of time zones are beyond what databases and calendars can tell.
EARLIEST = date(2000, 1, 1)


class Range(TextChoices):
    TODAY = "today", _("Today")
    WEEK = "7", _("7 days")
    DAYS_30 = "30", _("30 days")
    DAYS_90 = "90", _("90 days")
    MONTH = "month", _("This month")
    LAST_MONTH = "last-month", _("Last month")
    CUSTOM = "custom", _("Custom")


DEFAULT = Range.DAYS_30


class Unit(TextChoices):
    HOUR = "hour", _("Hour")
    DAY = "day", _("Day")
    WEEK = "week", _("Week")
    MONTH = "month", _("Month")


def preset(name: str, today: date) -> analytics.Period:
    """The days of a range that has a name. Today is in it, and is not over."""
    if name == Range.TODAY:
        return analytics.Period.of_days(1, last=today)
    if name == Range.MONTH:
        return analytics.Period(today.replace(day=1), today + timedelta(days=1))
    if name == Range.LAST_MONTH:
        until = today.replace(day=1)
        return analytics.Period((until - timedelta(days=1)).replace(day=1), until)
    return analytics.Period.of_days(int(name), last=today)


class PeriodForm(forms.Form):
    """Finds out which days are meant; `period` is None where they cannot be shown."""

    period: analytics.Period | None = None

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if not {"range", "first", "last"} & set(self.errors):
            self.period = self._period(given)
        return given

    def _period(self, given: Mapping[str, Any]) -> analytics.Period | None:
        today = analytics.today()
        name, first, last = given.get("range"), given.get("first"), given.get("last")
        if name and name != Range.CUSTOM:
            return preset(name, today)
        if name != Range.CUSTOM and first is None and last is None:
            return preset(DEFAULT, today)
        if first is None or last is None:
            self.add_error("last" if first else "first", gettext("Give the first and the last day."))
            return None
        if min(first, last) < EARLIEST:
            self.add_error("first", gettext("Choose a day from 1 January 2000 on."))
            return None
        if max(first, last) > today:
            self.add_error("last", gettext("These days are not over: there is no usage after today."))
            return None
        try:
            return analytics.Period(first, last + timedelta(days=1))
        except InvalidPeriod as error:
            self.add_error("last", error.message)
            return None


class NamesField(forms.MultipleChoiceField):
    """Names of models, features or tiers. One that is not known has no usage, which the page says anyway."""

    def valid_value(self, value: Any) -> bool:
        return len(str(value)) <= LONGEST_NAME

    def to_python(self, value: Any) -> list[str]:
        names = dict.fromkeys(name for name in super().to_python(value) if name and "\x00" not in name)
        return [*names][:MOST_NAMES]


class NamesFilter(django_filters.MultipleChoiceFilter):  # type: ignore[misc, unused-ignore]
    field_class = NamesField


def day_input() -> forms.DateInput:
    return forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")


class AnalyticsFilter(django_filters.FilterSet):  # type: ignore[misc, unused-ignore]
    """The filter of every dashboard. Choices come from `slots`, the names that roll-ups have seen."""

    range = django_filters.ChoiceFilter(label=_("Period"), choices=Range.choices)
    first = django_filters.DateFilter(label=_("First day"), widget=day_input())
    last = django_filters.DateFilter(label=_("Last day"), widget=day_input())
    model = NamesFilter(label=_("Model"))
    feature = NamesFilter(label=_("Feature"))
    tier = NamesFilter(label=_("Tier"))
    by = django_filters.ChoiceFilter(
        label=_("By"), choices=[("model", _("Model")), ("feature", _("Feature")), ("tier", _("Tier"))]
    )
    unit = django_filters.ChoiceFilter(label=_("Each"), choices=Unit.choices)

    dimensions = ("model", "feature", "tier")

    class Meta:
        model = UsageDay
        fields: Sequence[str] = []
        form = PeriodForm

    def __init__(self, data: Any = None, queryset: QuerySet[UsageDay] | None = None, **kwargs: Any) -> None:
        super().__init__({} if data is None else data, queryset, **kwargs)

    @cached_property
    def period(self) -> analytics.Period:
        """The days that are shown: those of the default where others were asked for that cannot be."""
        self.form.is_valid()
        return self.form.period or preset(DEFAULT, analytics.today())

    @cached_property
    def preset(self) -> str:
        """The name of the range that is shown."""
        self.form.is_valid()
        if self.form.period is None:
            return DEFAULT.value
        given = self.form.cleaned_data
        if given.get("range"):
            return str(given["range"])
        return Range.CUSTOM.value if given.get("first") else DEFAULT.value

    @cached_property
    def slice(self) -> analytics.Slice:
        return analytics.Slice(tiers=self._names("tier"), models=self._names("model"), features=self._names("feature"))

    @property
    def dimension(self) -> str:
        """What colours stand for: model, feature or tier."""
        return str(self._given("by") or "model")

    @property
    def wanted_unit(self) -> str:
        """The unit that was asked for, or ""."""
        return str(self._given("unit") or "")

    @property
    def errors_told(self) -> list[str]:
        """What is wrong, in sentences; each says what to do."""
        self.form.is_valid()
        return [str(message) for messages in self.form.errors.values() for message in messages]

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        found: QuerySet[Any] = queryset.filter(self.period.in_days()).filter(self.slice.condition())
        return found

    def names(self, dimension: str) -> list[str]:
        """As they stand in the URL."""
        found = self._given(dimension)
        return list(found) if found else []

    def _names(self, dimension: str) -> tuple[str, ...]:
        return tuple("" if name == UNNAMED else name for name in self.names(dimension))

    def _given(self, name: str) -> Any:
        self.form.is_valid()
        return self.form.cleaned_data.get(name)
