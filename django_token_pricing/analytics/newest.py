"""What is used right now, at a price that does not depend on how much that is.

A poll reads the newest uses by their number from the end, 2,000 at most, and the hours of the roll-up that the last 60
minutes touch. It counts no minutes in a table of its own, for metering would have to write that as well.

Where fewer than 2,000 uses are of the last minute or hour, what it says of that span is exact. Where more are, the
minute is scaled from the uses that were read to a whole minute, and the hour is taken from the roll-up: what it says
of the present hour, the matching part of the hour before, and the uses that are newer than the roll-up, scaled as well
if they are more than were read. Both then say that they are about right. Users are known of the uses read alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from django.db.models import Sum
from django.utils import timezone

from django_token_pricing.analytics.freshness import Held, held
from django_token_pricing.models import RollupState, TokenUsageLog, UsageHour

MOST_READ = 2_000
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
COLUMNS = ("used_at", "booked_at", "amount", "model", "feature", "account_id")


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens and requests of a span; `is_exact` is False where they are scaled, or taken from the roll-up."""

    tokens: int
    requests: int
    is_exact: bool = True


@dataclass(frozen=True, slots=True)
class Live:
    """Parts are of the last hour, the largest first. Those of users are of the uses since `users_since`."""

    as_of: datetime
    minute: Rate
    hour: Rate
    users: tuple[tuple[int, int, int], ...]
    models: tuple[tuple[str, int, int], ...]
    features: tuple[tuple[str, int, int], ...]
    users_since: datetime
    held: Held
    last_used_at: datetime | None
    minutes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Use:
    used_at: datetime
    booked_at: datetime
    amount: int
    model: str
    feature: str
    account: int


def live(*, as_of: datetime | None = None, most: int = 8) -> Live:
    """Three queries, or four where the newest uses do not reach back an hour."""
    now = as_of or timezone.now()
    rows = TokenUsageLog.objects.order_by("-pk").values_list(*COLUMNS)[:MOST_READ]
    read = [_Use(*row) for row in rows]
    is_cut = len(read) == MOST_READ
    # Later rows have later numbers, though some wait a moment for their commit.
    reach = read[-1].booked_at if is_cut else now - 2 * HOUR
    last_hour = [use for use in read if now - HOUR < use.used_at <= now]
    if reach <= now - HOUR:
        models: Parts = _parts(last_hour, "model")
        features: Parts = _parts(last_hour, "feature")
        hour = Rate(sum(use.amount for use in last_hour), len(last_hour))
    else:
        models, features, hour = _from_rollup(last_hour, now, reach)
    return Live(
        as_of=now,
        minute=_minute(last_hour, now, reach),
        hour=hour,
        users=_largest(_parts(last_hour, "account"), most),
        models=_largest(models, most),
        features=_largest(features, most),
        users_since=max(reach, now - HOUR),
        held=held(as_of=now),
        last_used_at=max((use.used_at for use in read), default=None),
        minutes=_minutes(last_hour, now, reach),
    )


Parts = Mapping[Any, tuple[int, int]]


def _minute(uses: Iterable[_Use], now: datetime, reach: datetime) -> Rate:
    found = [use for use in uses if use.used_at > now - MINUTE]
    tokens = sum(use.amount for use in found)
    covered = now - reach
    if covered >= MINUTE:
        return Rate(tokens, len(found))
    times = MINUTE / max(covered, timedelta(milliseconds=1))
    return Rate(round(tokens * times), round(len(found) * times), is_exact=False)


def _minutes(uses: Iterable[_Use], now: datetime, reach: datetime) -> tuple[int, ...]:
    """Tokens of the last minutes, an hour of them at most, of those that were read as a whole; the newest last."""
    count = min(60, int((now - reach) / MINUTE))
    found = [0] * count
    for use in uses:
        place = int((now - use.used_at) / MINUTE)
        if 0 <= place < count:
            found[count - 1 - place] += use.amount
    return tuple(found)


def _parts(uses: Iterable[_Use], by: str) -> dict[Any, tuple[int, int]]:
    sums: dict[Any, list[int]] = defaultdict(lambda: [0, 0])
    for use in uses:
        found = sums[getattr(use, by)]
        found[0] += use.amount
        found[1] += 1
    return {name: (tokens, requests) for name, (tokens, requests) in sums.items()}


def _from_rollup(last_hour: list[_Use], now: datetime, reach: datetime) -> tuple[Parts, Parts, Rate]:
    """The last 60 minutes from two hours of the roll-up, and from the uses that are newer than it.

    Where these are more than were read, those read stand for the others.
    """
    folded_at = RollupState.objects.filter(pk=1).values_list("folded_at", flat=True).first()
    since = max(folded_at or now - HOUR, now - HOUR)
    fresh = [use for use in last_hour if use.booked_at > since]
    times = (now - since) / max(now - reach, timedelta(milliseconds=1)) if since < reach else 1.0
    rows = (
        UsageHour.objects.filter(starts_at__gt=now - 2 * HOUR, starts_at__lte=now)
        .values("starts_at", "model", "feature")
        .annotate(sum=Sum("tokens"), count=Sum("requests"))
        .order_by()
    )
    parts: dict[str, dict[Any, list[float]]] = {"model": {}, "feature": {}}
    whole = [0.0, 0.0]

    def add(model: str, feature: str, tokens: float, requests: float) -> None:
        sums = (parts["model"].setdefault(model, [0, 0]), parts["feature"].setdefault(feature, [0, 0]), whole)
        for one in sums:
            one[0] += tokens
            one[1] += requests

    for row in rows:
        # Of an hour that began earlier, the part that lies in the last 60 minutes.
        share = min(1.0, max(0.0, (row["starts_at"] + HOUR - (now - HOUR)) / HOUR))
        add(row["model"], row["feature"], row["sum"] * share, row["count"] * share)
    for use in fresh:
        add(use.model, use.feature, use.amount * times, times)
    models, features = (
        {name: (round(tokens), ceil(requests)) for name, (tokens, requests) in parts[by].items()}
        for by in ("model", "feature")
    )
    return models, features, Rate(round(whole[0]), ceil(whole[1]), is_exact=False)


def _largest(parts: Parts, most: int) -> tuple[tuple[Any, int, int], ...]:
    found = [(name, tokens, requests) for name, (tokens, requests) in parts.items()]
    return tuple(sorted(found, key=lambda part: (-part[1], -part[2], str(part[0])))[:most])
