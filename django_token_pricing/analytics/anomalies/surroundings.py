"""The series around an alert, for a chart beside its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django_token_pricing.analytics.anomalies import accounts, measured
from django_token_pricing.analytics.periods import zone
from django_token_pricing.choices import AnomalyScope
from django_token_pricing.models import Anomaly

BEFORE = timedelta(days=4)
AFTER = timedelta(days=1)
# Of a long alert its beginning is shown.
MOST = timedelta(days=10)


@dataclass(frozen=True, slots=True)
class Around:
    points: list[tuple[datetime, float]]
    unit: str
    is_daily: bool


def around(anomaly: Anomaly) -> Around | None:
    """Hours of the site, tier or model; days of an account. None where there is nothing left of it."""
    unit = str(anomaly.facts.get("unit", "tokens"))
    if anomaly.scope == AnomalyScope.ACCOUNT:
        if anomaly.account_id is None:
            return None
        day = anomaly.starts_at.astimezone(zone()).date()
        return Around(accounts.days_of(anomaly.account_id, day, unit), unit, is_daily=True)
    state = measured.whole_hours_until(min(anomaly.ends_at + AFTER, anomaly.starts_at + MOST))
    if state is None:
        return None
    hours = measured.hours_of(anomaly.scope, anomaly.target, anomaly.starts_at - BEFORE, state)
    values = {"cost": hours.cost, "requests": hours.requests}.get(unit, hours.tokens)
    return Around(list(zip(hours.starts, values, strict=True)), unit, is_daily=False)
