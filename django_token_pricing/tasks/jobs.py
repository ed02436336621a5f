"""Bulk work in the background."""

from __future__ import annotations

from celery import shared_task

from django_token_pricing import jobs


@shared_task(name="django_token_pricing.jobs.work", acks_late=True)  # type: ignore[untyped-decorator]
def work(job: int) -> None:
    """Take one job as far as it goes."""
    jobs.work(job)


@shared_task(name="django_token_pricing.jobs.sweep")  # type: ignore[untyped-decorator]
def sweep() -> None:
    """Go on with what waits for a worker: the broker lost the call, or the worker that had it died."""
    for job in jobs.sweep():
        work.delay(job)
