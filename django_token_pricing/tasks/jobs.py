"""Bulk work in the background."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from django_token_pricing import jobs
from django_token_pricing.tasks.runs import scheduled

# Each job that ends calls the next; where thousands wait, calls to all of them would only fill the broker.
MOST_CALLED = 100


@shared_task(name="django_token_pricing.jobs.work", acks_late=True)  # type: ignore[untyped-decorator]
def work(job: int) -> None:
    """Take one job as far as it goes."""
    jobs.work(job)


@scheduled("django_token_pricing.jobs.sweep")
def sweep() -> dict[str, Any]:
    """Go on with what waits for a worker: the broker lost the call, or the worker that had it died."""
    waiting = jobs.sweep()
    for job in waiting[:MOST_CALLED]:
        work.delay(job)
    return {"jobs": len(waiting)}
