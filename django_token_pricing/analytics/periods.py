"""Which days a question is about, in the reporting zone, and of which tiers, models and features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from django_token_pricing import conf
from django_token_pricing.exceptions import InvalidPeriod
from django_token_pricing.lib.periods import start_of_day, zone_of

MOST_DAYS = 1_830


def zone() -> tzinfo:
    """The reporting zone, in which hours, days and months of analytics begin."""
    return zone_of(conf.current().REPORTING_ZONE, timezone.get_default_timezone())


def today() -> date:
    return timezone.now().astimezone(zone()).date()


@dataclass(frozen=True, slots=True)
class Period:
    """Days from `first` up to and without `until`. Raises InvalidPeriod for none, or for more than five years."""

    first: date
    until: date

    def __post_init__(self) -> None:
        if self.until <= self.first:
            raise InvalidPeriod(detail=_("It ends before it begins. Exchange the two days."))
        if self.days > MOST_DAYS:
            raise InvalidPeriod(detail=_("It is longer than five years. Choose a shorter one."))

    @classmethod
    def of_days(cls, days: int, *, last: date) -> Period:
        return cls(last - timedelta(days=days - 1), last + timedelta(days=1))

    @property
    def days(self) -> int:
        return (self.until - self.first).days

    @property
    def last(self) -> date:
        return self.until - timedelta(days=1)

    @property
    def before(self) -> Period:
        """As many days, up to its first."""
        return Period(self.first - timedelta(days=self.days), self.first)

    @property
    def starts_at(self) -> datetime:
        return start_of_day(self.first, zone())

    @property
    def ends_at(self) -> datetime:
        return start_of_day(self.until, zone())

    def __iter__(self) -> Iterator[date]:
        return (self.first + timedelta(days=number) for number in range(self.days))

    def months(self) -> list[date]:
        """The first days of the months that it touches."""
        found = [self.first.replace(day=1)]
        while (following := (found[-1] + timedelta(days=32)).replace(day=1)) < self.until:
            found.append(following)
        return found

    def in_days(self) -> Q:
        """For rows with a `day`."""
        return Q(day__gte=self.first, day__lt=self.until)


@dataclass(frozen=True, slots=True)
class Slice:
    """Of which tiers, models and features; an empty tuple is all of them."""

    tiers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    features: tuple[str, ...] = ()

    def condition(self) -> Q:
        given: dict[str, Any] = {}
        for name, values in (("tier", self.tiers), ("model", self.models), ("feature", self.features)):
            if values:
                given[f"{name}__in"] = values
        return Q(**given)


ALL = Slice()
