"""Background work that an operator's rules ask for."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from django_token_pricing.automation import renewals
from django_token_pricing.tasks.runs import scheduled


@scheduled("django_token_pricing.automation.renew")
def renew(*, as_of: str | None = None) -> dict[str, Any]:
    """Ask for the renewal of what is due at `as_of` (ISO 8601), by default now; a worker does it as a job."""
    moment = parse_datetime(as_of) if as_of else None
    job = renewals.start(as_of=moment or timezone.now())
    return {"job": None if job is None else job.pk}
