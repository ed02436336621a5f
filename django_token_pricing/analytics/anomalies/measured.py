"""What rules look at: the hours of the site, of tiers and of models, as the roll-ups have them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import Any

from django.db.models import Min, QuerySet, Sum

from django_token_pricing.analytics.periods import zone
from django_token_pricing.analytics.rollups.state import database, rollup_state
from django_token_pricing.choices import AnomalyScope
from django_token_pricing.lib.periods import start_of_day
from django_token_pricing.models import UsageDay, UsageHour

HOUR = timedelta(hours=1)
# History that is needed to judge an hour.
HISTORY = timedelta(weeks=8)
# Of tiers and of models, those used most.
MOST_TARGETS = 20
FIELDS = {AnomalyScope.TIER.value: "tier", AnomalyScope.MODEL.value: "model"}


@dataclass(frozen=True, slots=True)
class Odd:
    """What a rule found: from the start of its first hour or day until before the end of its last."""

    starts_at: datetime
    ends_at: datetime
    value: float
    expected: float | None
    score: float | None
    facts: dict[str, Any] = field(default_factory=dict)
    target: str = ""
    account: int | None = None


@dataclass(slots=True)
class Hours:
    """All hours from the first in which anything was used; an hour without a use is one of zeros."""

    starts: list[datetime]
    tokens: list[float]
    requests: list[float]
    cost: list[float]

    def place(self, moment: datetime) -> int:
        """Of the first hour that begins then or later."""
        return max(0, min(len(self.starts), -((self.starts[0] - moment) // HOUR))) if self.starts else 0


def whole_hours_until(as_of: datetime) -> datetime | None:
    """The end of the last hour that is over and that the roll-ups have; None before the first fold."""
    state = rollup_state()
    if state is None or state.folded_at is None:
        return None
    return _hour(min(as_of, state.folded_at))


def _hour(moment: datetime) -> datetime:
    return moment.astimezone(timezone.utc).replace(minute=0, second=0, microsecond=0)


def hours(scope: str, since: datetime, until: datetime) -> dict[str, Hours]:
    """By tier or model, the most used of these hours; of the site under "". One or two queries."""
    begin = start_of_day(since.astimezone(zone()).date(), zone())
    name = FIELDS.get(scope)
    rows = UsageHour.objects.using(database()).filter(
        day__gte=begin.date(), day__lte=until.astimezone(zone()).date(), starts_at__gte=begin, starts_at__lt=until
    )
    columns = ["starts_at"]
    if name:
        used = rows.exclude(**{name: ""}).values(name).annotate(sum=Sum("tokens")).order_by("-sum", name)
        rows = rows.filter(**{f"{name}__in": [row[name] for row in used[:MOST_TARGETS]]})
        columns.append(name)
    return _gathered(rows, columns, name, until)


def hours_of(scope: str, target: str, since: datetime, until: datetime) -> Hours:
    """Of one tier or model, or of the site."""
    rows = UsageHour.objects.using(database()).filter(
        day__gte=since.astimezone(zone()).date(),
        day__lte=until.astimezone(zone()).date(),
        starts_at__gte=since,
        starts_at__lt=until,
    )
    if name := FIELDS.get(scope):
        rows = rows.filter(**{name: target})
    return _gathered(rows, ["starts_at"], None, until).get("", Hours([], [], [], []))


def _gathered(rows: QuerySet[UsageHour], columns: list[str], name: str | None, until: datetime) -> dict[str, Hours]:
    sums = rows.values(*columns).annotate(t=Sum("tokens"), r=Sum("requests"), c=Sum("cost")).order_by("starts_at")
    found: dict[str, Hours] = {}
    for row in sums.iterator(chunk_size=2_000):
        moment = _hour(row["starts_at"])
        one = found.setdefault(row[name] if name else "", Hours([], [], [], []))
        _pad(one, moment)
        place = len(one.starts)
        if place and one.starts[-1] == moment:
            # In zones that are half an hour off, two of the hours begin in one.
            place -= 1
        else:
            _append(one, moment)
        one.tokens[place] += float(row["t"])
        one.requests[place] += float(row["r"])
        one.cost[place] += float(row["c"])
    for one in found.values():
        _pad(one, _hour(until))
    return found


def _pad(hours: Hours, until: datetime) -> None:
    while hours.starts and hours.starts[-1] + HOUR < until:
        _append(hours, hours.starts[-1] + HOUR)


def _append(hours: Hours, moment: datetime) -> None:
    hours.starts.append(moment)
    hours.tokens.append(0.0)
    hours.requests.append(0.0)
    hours.cost.append(0.0)


def first_days() -> dict[str, date]:
    """By model, its first day, of those that usage names."""
    rows = UsageDay.objects.using(database()).exclude(model="").values("model").annotate(first=Min("day")).order_by()
    return {row["model"]: row["first"] for row in rows}
