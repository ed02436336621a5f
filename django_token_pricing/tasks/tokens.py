from __future__ import annotations

from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from django_token_pricing import tokens
from django_token_pricing.tasks.runs import scheduled


@scheduled("django_token_pricing.tokens.expire")
def expire(*, as_of: str | None = None) -> dict[str, Any]:
    """Book what has lapsed until `as_of` (ISO 8601), by default until now."""
    until = parse_datetime(as_of) if as_of else None
    result = tokens.expire(as_of=until or timezone.now())
    return {"lots": result.lots, "tokens": result.tokens, "holds": result.holds}


@scheduled("django_token_pricing.tokens.refresh_summaries")
def refresh_summaries() -> dict[str, Any]:
    """Compute anew what lists of accounts sort and filter by."""
    return {"accounts": tokens.refresh_summaries().accounts}
