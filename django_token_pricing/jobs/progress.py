"""How far a job is, how fast, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from django.utils import timezone

from django_token_pricing import conf
from django_token_pricing.choices import JobStatus
from django_token_pricing.jobs import leases
from django_token_pricing.jobs.leases import SILENCE, WAITING
from django_token_pricing.models import Job

# Of the pace so many seconds are kept, a point every two of them.
MINUTE = 60
APART = 2
OVER = frozenset({JobStatus.DONE, JobStatus.CANCELED, JobStatus.FAILED})


@dataclass(frozen=True, slots=True)
class Progress:
    """Shares are of 1; `rate` is rows a second over the last minute of work, of what is over since its start.

    `left` is what the rest takes at that rate; `others` how many are being worked on while this one has to wait.
    """

    decided: int
    to_go: int
    share: float
    running: timedelta
    rate: float
    left: timedelta | None
    is_silent: bool
    others: int


def progress(job: Job, *, as_of: datetime | None = None) -> Progress:
    """Takes a query where the job waits for a worker, else none."""
    now = as_of or timezone.now()
    decided = job.decided
    to_go = job.to_go
    running = (job.finished_at or now) - job.started_at if job.started_at else timedelta(0)
    seconds = running.total_seconds()
    rate = decided / seconds if seconds > 0 else 0.0
    is_running = job.status == JobStatus.RUNNING
    if is_running or job.status == JobStatus.PAUSED:
        rate = _rate(job.pace) or rate
    waits = job.status in (JobStatus.PREPARING, JobStatus.QUEUED) and job.worker is None
    busy = leases.busy(job._state.db or "default") if waits else 0
    return Progress(
        decided=decided,
        to_go=to_go,
        share=decided / job.total if job.total else float(job.status == JobStatus.DONE),
        running=running,
        rate=rate,
        left=timedelta(seconds=to_go / rate) if is_running and rate else None,
        is_silent=job.status in WAITING and now - (job.alive_at or job.created_at) > SILENCE,
        others=busy if busy >= conf.current().JOB_PARALLEL else 0,
    )


def paced(pace: Sequence[Sequence[float]], decided: int) -> list[list[float]]:
    """The pace with the point of now: how many rows are decided."""
    now = round(time.time(), 2)
    points = [list(point) for point in pace if point[0] > now - MINUTE or point is pace[-1]]
    if len(points) > 1 and points[-1][0] - points[-2][0] < APART:
        points.pop()
    return [*points, [now, decided]]


def _rate(pace: Sequence[Sequence[float]]) -> float:
    """Rows a second; 0 where there is nothing to tell it from."""
    if len(pace) < 2:
        return 0.0
    (start, before), (end, after) = pace[0], pace[-1]
    return (after - before) / (end - start) if end > start else 0.0


def rates(pace: Sequence[Sequence[float]]) -> list[int]:
    """Rows a second from point to point."""
    return [round((after - before) / (end - start)) for (start, before), (end, after) in pairwise(pace) if end > start]
