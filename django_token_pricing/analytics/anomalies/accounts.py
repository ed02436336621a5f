"""Rules on accounts: those alone are looked at that used much on a day, and their days before, by indexes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import Case, Count, IntegerField, Max, Min, QuerySet, Sum, Value, When

from django_token_pricing.analytics.anomalies.kinds import many_times, quiet_days, small_share
from django_token_pricing.analytics.anomalies.measured import Odd
from django_token_pricing.analytics.periods import zone
from django_token_pricing.analytics.rollups.state import database
from django_token_pricing.choices import AnomalyKind
from django_token_pricing.lib.anomalies import Strictness
from django_token_pricing.lib.periods import start_of_day
from django_token_pricing.lib.series import median, spread
from django_token_pricing.lib.steps import steps
from django_token_pricing.models import AnomalyRule, TokenUsageLog

DAYS = 28
# Of a day, the accounts that used most are looked at.
MOST_ACCOUNTS = 500
# Days with any use before a day can be unlike them.
LEAST_DAYS = 5
# Rows are numbered nearly in the order in which they are booked.
MARGIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Used:
    tokens: int
    requests: int
    ends_at: datetime


def on_day(rule: AnomalyRule, day: date, until: datetime) -> list[Odd]:
    """What the rule finds among the accounts that were active on that day of the reporting zone, up to a moment."""
    begin = start_of_day(day, zone())
    end = min(start_of_day(day + timedelta(days=1), zone()), until)
    if begin >= end:
        return []
    today = _active(rule, begin, end)
    before = _days_before(list(today), day)
    found = []
    for account, used in today.items():
        odd = _judged(rule, used, before.get(account, {}), begin)
        if odd is not None:
            value, expected, score, facts = odd
            found.append(Odd(begin, used.ends_at, value, expected, score, facts, str(account), account))
    return found


def _judged(
    rule: AnomalyRule, used: Used, before: dict[int, Used], begin: datetime
) -> tuple[float, float | None, float | None, dict[str, Any]] | None:
    """`before` has the days by how long ago they were."""
    tokens = [float(before[ago].tokens) if ago in before else 0.0 for ago in range(1, DAYS + 1)]
    match rule.kind:
        case AnomalyKind.START:
            quiet = min(quiet_days(rule), DAYS)
            if any(tokens[:quiet]):
                return None
            return float(used.tokens), 0.0, None, {"unit": "tokens", "days": quiet, "requests": used.requests}
        case AnomalyKind.SEASONAL:
            return _unlike(rule, used, tokens)
        case AnomalyKind.BURST:
            return _burst(rule, used, before)
    return None


def _unlike(
    rule: AnomalyRule, used: Used, tokens: list[float]
) -> tuple[float, float | None, float | None, dict[str, Any]] | None:
    """Far above its days before, and above each of them. A day that is not over yet is compared as it is."""
    if sum(map(bool, tokens)) < LEAST_DAYS:
        return None
    middle = max(median(tokens), median(tokens[6::7]))
    wide = max(spread(tokens), 0.1 * middle, 1.0)
    score = (used.tokens - middle) / wide
    higher = 2 * 1.2 ** (5 - rule.sensitivity)
    if score < Strictness.of(rule.sensitivity).least or used.tokens < max(1.1, higher) * max(tokens):
        return None
    facts = {"unit": "tokens", "side": "spike", "hours": 24, "low": 0.0, "high": max(tokens)}
    return float(used.tokens), middle, score, facts


def _burst(
    rule: AnomalyRule, used: Used, before: dict[int, Used]
) -> tuple[float, float | None, float | None, dict[str, Any]] | None:
    requests = sum(one.requests for one in before.values())
    if len(before) < LEAST_DAYS or not requests:
        return None
    size = sum(one.tokens for one in before.values()) / requests
    usual = median([float(one.requests) for one in before.values()])
    if used.tokens / used.requests > small_share(rule) * size or used.requests < many_times(rule) * max(usual, 1.0):
        return None
    facts = {"unit": "requests", "tokens_each": used.tokens / used.requests, "usual_each": size}
    return float(used.requests), usual, None, facts


def days_of(account: int, day: date, unit: str) -> list[tuple[datetime, float]]:
    """Tokens or uses of an account by the day, up to that day."""
    before = _days_before([account], day + timedelta(days=1)).get(account, {})
    return [
        (
            start_of_day(day - timedelta(days=ago - 1), zone()),
            float(getattr(before[ago], unit if unit == "requests" else "tokens")) if ago in before else 0.0,
        )
        for ago in range(DAYS, 0, -1)
    ]


# Rows of usage -------------------------------------------------------------------------------------------------------


def _uses() -> QuerySet[TokenUsageLog]:
    return TokenUsageLog.objects.using(database())


def _active(rule: AnomalyRule, begin: datetime, end: datetime) -> dict[int, Used]:
    """The accounts whose day is large enough for the rule, those with the most first. One pass over the day's rows."""
    # What was used on a day may be booked at any time after it.
    first = _first_booked(begin - MARGIN)
    uses = _uses().filter(used_at__gte=begin, used_at__lt=end)
    if first is None:
        return {}
    sums = _sums(uses.filter(pk__gte=first).values("account"))
    measure = "requests" if rule.kind == AnomalyKind.BURST else "tokens"
    sums = sums.filter(**{f"{measure}__gte": max(1, rule.least)}).order_by(f"-{measure}", "account")
    return {row["account"]: Used(row["tokens"], row["requests"], row["at"]) for row in sums[:MOST_ACCOUNTS]}


def _sums(uses: Any) -> Any:
    return uses.annotate(tokens=Sum("amount"), requests=Count("pk"), at=Max("used_at"))


def _first_booked(moment: datetime) -> int | None:
    """The number of the first row that was booked then or later, found by halving: nothing indexes `booked_at`."""
    ends = _uses().aggregate(low=Min("pk"), high=Max("pk"))
    low, high = ends["low"], ends["high"]
    if low is None:
        return None
    high += 1
    while low < high:
        middle = (low + high) // 2
        row = _uses().filter(pk__gte=middle).order_by("pk").values_list("pk", "booked_at").first()
        if row is None or row[1] >= moment:
            high = middle
        else:
            low = row[0] + 1
    return low if _uses().filter(pk__gte=low).exists() else None


def _days_before(accounts: Sequence[int], day: date) -> dict[int, dict[int, Used]]:
    """By account, its days with any use by how many days they lie before that one."""
    bounds = [start_of_day(day - timedelta(days=ago), zone()) for ago in range(DAYS + 1)]
    ago = Case(
        *(When(used_at__gte=bounds[number], then=Value(number)) for number in range(1, DAYS + 1)),
        output_field=IntegerField(),
    )
    found: dict[int, dict[int, Used]] = defaultdict(dict)
    for step in steps(accounts):
        uses = _uses().filter(account__in=step, used_at__gte=bounds[DAYS], used_at__lt=bounds[0])
        # The case stands in the query once: a database that groups by parameters would take each for another.
        rows = _sums(uses.annotate(ago=ago).values("account", "ago")).order_by()
        for row in rows:
            found[row["account"]][row["ago"]] = Used(row["tokens"], row["requests"], row["at"])
    return found
