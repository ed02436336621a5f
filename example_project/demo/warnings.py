"""Warnings that Northwind has set, and what they say to the people of the story."""

from __future__ import annotations

from customers.models import User
from django_token_pricing import notifications, tokens
from django_token_pricing.choices import WarningKind
from django_token_pricing.models import WarningRule

RULES = [
    {"kind": WarningKind.LOW_PERCENT, "percent": 20, "tells_admins": True},
    {"kind": WarningKind.LOW_PERCENT, "percent": 5, "tells_admins": True},
    {"kind": WarningKind.LOW_TOKENS, "tokens": 50_000, "tier": "business", "tells_user": False, "tells_admins": True},
    {"kind": WarningKind.EXPIRING, "days": 3, "tokens": 10_000, "tells_admins": True},
    {"kind": WarningKind.EXPIRED, "is_active": False},
    {"kind": WarningKind.LIMIT, "percent": 80},
    {"kind": WarningKind.LIMIT, "percent": 100, "tells_admins": True},
]


def warn(operator: User) -> str:
    """Set the rules and let them fire once; the worker sends the mails."""
    for terms in RULES:
        rule = WarningRule(**terms)
        rule._history_user, rule._change_reason = operator, "From the first day"  # type: ignore[attr-defined]
        rule.save()
    tokens.refresh_summaries()
    warned = notifications.warn()
    return f"{len(RULES)} warnings, of which {warned.warnings} fired"
