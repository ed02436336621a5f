"""How far a job is, how fast, and how long it will take."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from django_token_pricing.choices import JobStatus
from django_token_pricing.models import Job

# What a worker has not said anything for so long is taken over.
SILENCE = timedelta(seconds=90)
OVER = frozenset({JobStatus.DONE, JobStatus.CANCELED, JobStatus.FAILED})


@dataclass(frozen=True, slots=True)
class Progress:
    """Shares are of 1; `rate` is rows a second since the start, `left` what the rest takes at that rate."""

    decided: int
    to_go: int
    share: float
    running: timedelta
    rate: float
    left: timedelta | None
    is_silent: bool


def progress(job: Job, *, as_of: datetime | None = None) -> Progress:
    now = as_of or timezone.now()
    decided = job.decided
    to_go = max(job.total - decided, 0)
    running = (job.finished_at or now) - job.started_at if job.started_at else timedelta(0)
    seconds = running.total_seconds()
    rate = decided / seconds if seconds > 0 else 0.0
    is_running = job.status == JobStatus.RUNNING
    return Progress(
        decided=decided,
        to_go=to_go,
        share=decided / job.total if job.total else float(job.status == JobStatus.DONE),
        running=running,
        rate=rate,
        left=timedelta(seconds=to_go / rate) if is_running and rate else None,
        is_silent=job.status in (JobStatus.PREPARING, JobStatus.QUEUED, JobStatus.RUNNING)
        and now - (job.alive_at or job.created_at) > SILENCE,
    )
