"""Background work on warnings, and the mails that say them."""

from __future__ import annotations

from typing import Any

from django.utils.dateparse import parse_datetime

from django_token_pricing import notifications
from django_token_pricing.tasks.runs import scheduled


@scheduled("django_token_pricing.notifications.warn")
def warn(*, as_of: str | None = None) -> dict[str, Any]:
    """Fire the warnings that are due at `as_of` (ISO 8601), by default now."""
    result = notifications.warn(as_of=parse_datetime(as_of) if as_of else None)
    return {"warnings": result.warnings, "notifications": result.notifications}


@scheduled("django_token_pricing.notifications.deliver")
def deliver() -> dict[str, Any]:
    """Send the mails that wait."""
    result = notifications.deliver()
    return {
        "sent": result.sent,
        "unreachable": result.unreachable,
        "waiting": result.waiting,
        "failed": result.failed,
    }
