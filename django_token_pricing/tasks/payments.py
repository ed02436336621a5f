"""Background work on subscriptions and payments."""

from __future__ import annotations

import logging
from typing import Any

from django_token_pricing import payments
from django_token_pricing.tasks.runs import scheduled

logger = logging.getLogger(__name__)


@scheduled("django_token_pricing.payments.sync")
def sync(*, full: bool = False) -> dict[str, Any]:
    """Sync both mirrors. What could not be stored is logged, and read again next time."""
    found: list[payments.SyncResult] = []
    try:
        found.append(_logged(payments.sync_subscriptions(full=full)))
    finally:  # one adapter's failure is no reason to leave the other unread
        found.append(_logged(payments.sync_payments(full=full)))
    return {
        "events": sum(result.new_events for result in found),
        "problems": sum(len(result.problems) for result in found),
    }


def _logged(result: payments.SyncResult) -> payments.SyncResult:
    for problem in result.problems:
        logger.warning("%s", problem)
    return result
