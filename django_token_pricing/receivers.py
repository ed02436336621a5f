"""Reactions to signals."""

from __future__ import annotations

import logging
from typing import Any

from django.db.models.signals import post_delete, post_migrate, post_save
from django.dispatch import receiver
from kombu.exceptions import OperationalError

from django_token_pricing import signals, tasks
from django_token_pricing.models import ModelPrice
from django_token_pricing.tokens import postgresql, prices

logger = logging.getLogger(__name__)

post_migrate.connect(postgresql.forget, dispatch_uid="django_token_pricing.tokens.postgresql.forget")


@receiver([post_save, post_delete], sender=ModelPrice, dispatch_uid="django_token_pricing.receivers.forget_prices")
@receiver(post_migrate, dispatch_uid="django_token_pricing.receivers.forget_prices")
def forget_prices(**kwargs: Any) -> None:
    """Also what fixtures load and a flush takes away."""
    prices.forget()


@receiver(signals.job_waiting, dispatch_uid="django_token_pricing.receivers.call_worker")
def call_worker(sender: Any, job: int, **kwargs: Any) -> None:
    """Without a broker the job waits for the sweep; the request that asked for it does not."""
    try:
        tasks.jobs.work.apply_async((job,), retry=False)
    except OperationalError:
        logger.warning("No broker was reached for job %s; the next sweep takes it up", job, exc_info=True)
