"""Background work on what needs a second person."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from django_token_pricing import approvals
from django_token_pricing.tasks.runs import scheduled


@scheduled("django_token_pricing.approvals.expire")
def expire(*, as_of: str | None = None) -> dict[str, Any]:
    """Close the requests whose time was over at `as_of` (ISO 8601), by default now."""
    until = parse_datetime(as_of) if as_of else None
    return {"requests": approvals.expire(as_of=until or timezone.now())}
