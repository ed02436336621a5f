"""Hours and days of use in the roll-ups, as a fold would leave them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from django_token_pricing import analytics
from django_token_pricing.lib.periods import start_of_day
from django_token_pricing.models import RollupState, UsageDay, UsageHour

NOW = datetime(2026, 11, 23, 10, 20, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
BEGIN = datetime(2026, 9, 28, tzinfo=timezone.utc)


def folded(at: datetime = NOW) -> None:
    RollupState.objects.update_or_create(pk=1, defaults={"zone": str(analytics.zone()), "folded_at": at})


def day_and_night(moment: datetime) -> int:
    """Ten uses an hour by day, two by night, fewer on weekends, by the clocks of the reporting zone."""
    local = moment.astimezone(analytics.zone())
    uses = 10 if 8 <= local.hour < 20 else 2
    return uses if local.weekday() < 5 else max(1, uses // 2)


def fill(
    uses: Callable[[datetime], int] = day_and_night,
    *,
    model: str = "gpt-4o",
    tier: str = "team",
    since: datetime = BEGIN,
    until: datetime = NOW,
    each: Callable[[datetime], int] = lambda moment: 100 + moment.hour % 3,
    cost: Callable[[datetime], Decimal] = lambda moment: Decimal("0.01"),
) -> None:
    """So many uses an hour, of so many tokens each, at that cost a use."""
    rows = []
    moment = since
    while moment < until:
        count = uses(moment)
        if count:
            local = moment.astimezone(analytics.zone())
            rows.append(
                UsageHour(
                    starts_at=moment,
                    day=local.date(),
                    hour=local.hour,
                    tier=tier,
                    model=model,
                    feature="chat",
                    requests=count,
                    tokens=count * each(moment),
                    cost=count * cost(moment),
                )
            )
        moment += HOUR
    UsageHour.objects.bulk_create(rows, batch_size=500)
    days: dict[object, UsageDay] = {}
    for row in rows:
        day = days.setdefault(row.day, UsageDay(day=row.day, tier=tier, model=model, feature="chat"))
        day.requests += row.requests
        day.tokens += row.tokens
        day.cost += row.cost
    UsageDay.objects.bulk_create(days.values(), batch_size=500)
    folded()


def midnight(days_ago: int) -> datetime:
    today = NOW.astimezone(analytics.zone()).date()
    return start_of_day(today - timedelta(days=days_ago), analytics.zone())
