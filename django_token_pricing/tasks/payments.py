"""Background work on subscriptions and payments."""

from __future__ import annotations

import logging

from celery import shared_task

from django_token_pricing import payments

logger = logging.getLogger(__name__)


@shared_task(name="django_token_pricing.payments.sync")  # type: ignore[untyped-decorator]
def sync(*, full: bool = False) -> None:
    """Sync both mirrors. What could not be stored is logged, and read again next time."""
    try:
        _log(payments.sync_subscriptions(full=full))
    finally:  # one adapter's failure is no reason to leave the other unread
        _log(payments.sync_payments(full=full))


def _log(result: payments.SyncResult) -> None:
    for problem in result.problems:
        logger.warning("%s", problem)
