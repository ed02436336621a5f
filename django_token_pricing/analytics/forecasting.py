"""Forecasts of tokens and cost: of the site, of each tier, of the models used most. Made in a task and stored.

Whole days of the reporting zone alone count, up to yesterday. What is stored says how wrong the method was in the past,
beside two naive ones; where it is not better than both, the better of these is what is told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db import router, transaction
from django.db.models import Min, Q, QuerySet, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from django_token_pricing.analytics import exponential
from django_token_pricing.analytics.periods import zone
from django_token_pricing.choices import ForecastMetric, ForecastScope
from django_token_pricing.exceptions import InvalidMoment
from django_token_pricing.lib import forecast as lib
from django_token_pricing.models import Forecast, UsageDay

HORIZON = 90
# Days of history that a forecast looks at.
HISTORY = 400
# The most used of the last weeks have a forecast each.
MOST_NAMES = 10
RECENT = timedelta(days=28)
# Of each, so many forecasts are kept to look back at, and none for longer.
KEPT = 30
KEPT_FOR = timedelta(days=120)
# Exponential smoothing is fitted anew at each origin.
ORIGINS = 8
# What `Forecast.note` says, for the page to put into words.
SHORT, NOT_INSTALLED, NOT_BETTER, NOT_FITTED = "short", "not_installed", "not_better", "not_fitted"
NONE = "none"


@dataclass(frozen=True, slots=True)
class Forecasts:
    """How many forecasts were made, and of how many the method beats the naive ones."""

    made: int
    better: int


def make_forecasts(*, as_of: datetime | None = None) -> Forecasts:
    """Make and store all forecasts from the whole days before that moment, by default now. Raises InvalidMoment."""
    if as_of is not None and timezone.is_naive(as_of):
        raise InvalidMoment(name="as_of", value=as_of, detail=_("it has no time zone."))
    now = as_of or timezone.now()
    until = now.astimezone(zone()).date()
    made = better = 0
    for row in _forecasts(until, now):
        with transaction.atomic(using=_database()):
            row.save(using=_database(), force_insert=True)
            _forget(row)
        made += 1
        better += row.is_better
    _rows().filter(made_at__lt=now - KEPT_FOR).delete()
    return Forecasts(made, better)


def newest_forecast(scope: str, name: str, metric: str) -> Forecast | None:
    """The last that was made."""
    return _rows().filter(scope=scope, name=name, metric=metric).order_by("-made_at", "-pk").first()


def forecast_names() -> dict[str, list[str]]:
    """Of which tiers and models there is a forecast, by scope."""
    found: dict[str, list[str]] = defaultdict(list)
    for scope, name in _rows().order_by("scope", "name").values_list("scope", "name").distinct():
        found[scope].append(name)
    return dict(found)


def forecast_history(forecast: Forecast, days: int) -> list[tuple[date, float | None]]:
    """What was measured on the last days that the forecast knew; None where nothing was."""
    first = max(forecast.first_day, forecast.last_day - timedelta(days=days - 1))
    rows = UsageDay.objects.using(router.db_for_read(UsageDay)).filter(day__gte=first, day__lte=forecast.last_day)
    if forecast.scope != ForecastScope.SITE:
        rows = rows.filter(**{forecast.scope: forecast.name})
    place = 0 if forecast.metric == ForecastMetric.TOKENS else 1
    sums = _sums(rows.order_by().values_list("day"))
    found = (first + timedelta(days=offset) for offset in range((forecast.last_day - first).days + 1))
    return [(day, sums[day][place] if day in sums else None) for day in found]


def _database() -> str:
    return router.db_for_write(Forecast)


def _rows() -> QuerySet[Forecast]:
    return Forecast.objects.using(_database())


def _forget(row: Forecast) -> None:
    same = _rows().filter(scope=row.scope, name=row.name, metric=row.metric).order_by("-made_at", "-pk")
    old = list(same.values_list("pk", flat=True)[KEPT : KEPT + 500])
    if old:
        _rows().filter(pk__in=old).delete()


# History --------------------------------------------------------------------------------------------------------------


def _forecasts(until: date, now: datetime) -> Iterator[Forecast]:
    days = UsageDay.objects.using(router.db_for_read(UsageDay))
    begin = days.aggregate(at=Min("day"))["at"]
    if begin is None or begin >= until:
        return
    begin = max(begin, until - timedelta(days=HISTORY))
    days = days.filter(day__gte=begin, day__lt=until).order_by()
    site = _sums(days.values_list("day"))
    resting = _resting(set(site), begin, until)
    for scope, field in ((ForecastScope.SITE, ""), (ForecastScope.TIER, "tier"), (ForecastScope.MODEL, "model")):
        for name in _names(days, field, until) if field else [""]:
            of = _sums(days.filter(**{field: name}).values_list("day")) if field else site
            for metric in ForecastMetric:
                first, history = _history(of, site, resting, metric, begin, until)
                if history:
                    yield _forecast(scope, name, metric, first, history, now)


def _sums(days: Any) -> dict[date, tuple[float, float]]:
    return {
        day: (float(tokens), float(cost))
        for day, tokens, cost in days.annotate(t=Sum("tokens"), c=Sum("cost")).values_list("day", "t", "c")
    }


def _names(days: QuerySet[UsageDay], field: str, until: date) -> list[str]:
    recent = days.filter(~Q(**{field: ""}), day__gte=until - RECENT).values(field).annotate(t=Sum("tokens"))
    return list(recent.order_by("-t", field).values_list(field, flat=True)[:MOST_NAMES])


def _resting(used: set[date], begin: date, until: date) -> set[date]:
    """Days without any use on a weekday that mostly has none: nothing was used then. On others nothing was measured."""
    found = set()
    for offset in range((until - begin).days):
        day = begin + timedelta(days=offset)
        if day in used:
            continue
        same = [day + timedelta(weeks=week) for week in range(-4, 5) if week]
        same = [one for one in same if begin <= one < until]
        if len(same) >= 3 and 2 * sum(one not in used for one in same) > len(same):
            found.add(day)
    return found


def _history(
    of: Mapping[date, tuple[float, float]],
    site: Mapping[date, tuple[float, float]],
    resting: set[date],
    metric: str,
    begin: date,
    until: date,
) -> tuple[date, list[float | None]]:
    """From its first day: zero where others were used on the day, a gap where the site has nothing of it at all."""
    first = min(of, default=until)
    place = 0 if metric == ForecastMetric.TOKENS else 1
    values: list[float | None] = []
    for offset in range((until - first).days):
        day = first + timedelta(days=offset)
        if day in of:
            values.append(of[day][place])
        else:
            values.append(0.0 if day in site or day in resting else None)
    return first, values


# Making one -----------------------------------------------------------------------------------------------------------


def _forecast(scope: str, name: str, metric: str, first: date, history: list[float | None], now: datetime) -> Forecast:
    last = first + timedelta(days=len(history) - 1)
    row = Forecast(
        scope=scope,
        name=name,
        metric=metric,
        method=NONE,
        made_at=now,
        first_day=first,
        last_day=last,
        horizon=HORIZON,
        points=[],
        backtest={"errors": {}, "origins": 0, "said": []},
        note=SHORT,
    )
    history = lib.cleaned(history)
    if not lib.is_enough(history):
        return row
    methods: dict[str, lib.Method] = dict(lib.NAIVE)
    may_fit = exponential.is_installed() and len(history) >= exponential.LEAST_DAYS and any(history)
    if may_fit:
        methods[exponential.NAME] = exponential.method(first)
    tested = _tested(history, methods, first)
    points = None
    if exponential.NAME in tested.errors and tested.beats(exponential.NAME, list(lib.NAIVE)):
        points = exponential.points(history, first, HORIZON)
    if points is not None:
        row.method, row.is_better, row.note = exponential.NAME, True, ""
    else:
        row.method = tested.best(list(lib.NAIVE))
        told = methods[row.method](history, HORIZON) or [0.0] * HORIZON
        points = lib.with_interval(told, tested.off.get(row.method, {}))
        row.note = _why(may_fit, exponential.NAME in tested.errors)
    row.points = [
        [(last + timedelta(days=ahead)).isoformat(), *(_rounded(value, metric) for value in _parts(point))]
        for ahead, point in enumerate(points, start=1)
    ]
    row.backtest = {
        "errors": {
            method: {"mae": one.mae, "wape": one.wape, "mase": one.mase, "days": one.days}
            for method, one in tested.errors.items()
        },
        "origins": tested.origins,
        "said": [
            [(first + timedelta(days=place)).isoformat(), _rounded(max(0.0, value), metric)]
            for place, value in tested.said.get(row.method, [])
        ],
    }
    return row


def _tested(history: list[float | None], methods: dict[str, lib.Method], first: date) -> lib.Backtest:
    """All over the same days. What cannot be fitted at any origin is left out, and the others are tested alone."""
    if exponential.NAME in methods:
        tested = lib.back_test(history, methods, days=HORIZON, origins=ORIGINS)
        if tested.origins >= 2:
            return tested
    return lib.back_test(history, dict(lib.NAIVE), days=HORIZON)


def _why(may_fit: bool, is_tested: bool) -> str:
    if is_tested:
        return NOT_BETTER
    return NOT_FITTED if may_fit or exponential.is_installed() else NOT_INSTALLED


def _parts(point: lib.Point) -> tuple[float, float, float]:
    return point.value, point.low, point.high


def _rounded(value: float, metric: str) -> float | int:
    return round(value) if metric == ForecastMetric.TOKENS else round(value, 6)
