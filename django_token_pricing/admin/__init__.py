"""Our pages in the host's admin. Importing this registers them with the default site, as autodiscovery does."""

from django_token_pricing.admin import (
    analytics,
    approvals,
    audit,
    automation,
    jobs,
    limits,
    notifications,
    payments,
    schedules,
    tokens,
)

__all__ = [
    "analytics",
    "approvals",
    "audit",
    "automation",
    "jobs",
    "limits",
    "notifications",
    "payments",
    "schedules",
    "tokens",
]
