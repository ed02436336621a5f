from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from django_token_pricing import analytics, notifications
from django_token_pricing.choices import RunOutcome
from django_token_pricing.models import ScheduledRun
from django_token_pricing.tasks import runs
from django_token_pricing.tasks.runs import scheduled

FIND_ANOMALIES = "django_token_pricing.analytics.find_anomalies"
# Usage comes late. What is older than the most is no news.
LOOK_BACK = timedelta(days=2)
MOST_LOOK_BACK = timedelta(days=14)


@scheduled("django_token_pricing.analytics.fold")
def fold() -> dict[str, Any]:
    """Add new rows of usage and of the ledger to the roll-ups."""
    return {"changed": analytics.fold().changed}


@scheduled("django_token_pricing.analytics.advise")
def advise() -> dict[str, Any]:
    """Compute anew what to allocate to each tier."""
    return {"tiers": analytics.advise().tiers}


@scheduled("django_token_pricing.analytics.forecast")
def forecast(*, as_of: str | None = None) -> dict[str, Any]:
    """Make the forecasts anew from the whole days before `as_of` (ISO 8601), by default now."""
    result = analytics.make_forecasts(as_of=parse_datetime(as_of) if as_of else None)
    return {"forecasts": result.made}


@scheduled(FIND_ANOMALIES)
def find_anomalies(*, as_of: str | None = None) -> dict[str, Any]:
    """Find what is odd in the hours before `as_of` (ISO 8601), by default now, and tell the operators."""
    moment = (parse_datetime(as_of) if as_of else None) or timezone.now()
    found = analytics.find_anomalies(as_of=moment, since=_looked_at(moment), told=notifications.tell_anomalies)
    return {"alerts": len(found.new)}


def _looked_at(moment: datetime) -> datetime:
    """From two days before the last time that it was done, so that what workers slept through is told as well."""
    runs_before = ScheduledRun.objects.using(runs.database()).filter(task=FIND_ANOMALIES, outcome=RunOutcome.DONE)
    last = runs_before.order_by("-pk").values_list("started_at", flat=True).first()
    usual = moment - LOOK_BACK
    return usual if last is None else max(min(usual, last - LOOK_BACK), moment - MOST_LOOK_BACK)
