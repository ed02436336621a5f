"""The log of scheduled runs: the sign that a worker is there. A log that cannot be written stops no task."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import wraps
from typing import Any

from celery import current_app, current_task, shared_task
from django.conf import settings
from django.db import Error, models, router, transaction
from django.utils import timezone, translation
from django.utils.translation import ngettext

from django_token_pricing.choices import JobStatus, RunOutcome
from django_token_pricing.lib.texts import storable
from django_token_pricing.models import Job, ScheduledRun
from django_token_pricing.tasks import beat

logger = logging.getLogger(__name__)

# Of each task, so many runs that went well and so many with a problem.
KEPT = 200
# A worker that was killed leaves more than one run's worth behind only after a change of KEPT.
MOST_DELETED = 500
MOST_PROBLEM = 2_000


def scheduled(task: str, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A shared task whose runs are in the log. What it returns, if a dict, is the run's result."""

    def declare(function: Callable[..., Any]) -> Any:
        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with recorded(task) as result:
                answer = function(*args, **kwargs)
                if isinstance(answer, dict):
                    result.update(answer)
            return answer

        return shared_task(name=task, **options)(run)

    return declare


@contextmanager
def recorded(task: str) -> Iterator[dict[str, Any]]:
    """Log what is done inside as a run of the task; what is put into the dict is its result."""
    result: dict[str, Any] = {}
    run: ScheduledRun | None = _written(_begin, task)
    try:
        yield result
    except BaseException as error:
        _written(_end, run, RunOutcome.FAILED, result, f"{type(error).__name__}: {error}")
        raise
    _written(_end, run, RunOutcome.DONE, result, "")


def send(task: str) -> None:
    """Hand a task to the workers now. Raises what kombu or the system raises where no broker is reached."""
    current_app.tasks[task].apply_async(retry=False)


def worker_seen() -> datetime | None:
    """The last sign of life: of any scheduled run, or of bulk work, which may keep the only worker busy."""
    using = database()
    newest = ScheduledRun.objects.using(using).order_by("-pk").values_list("started_at", "finished_at").first()
    at_work = Job.objects.using(using).filter(status__in=(JobStatus.PREPARING, JobStatus.RUNNING), worker__isnull=False)
    signs = [*(newest or ()), at_work.aggregate(at=models.Max("alive_at"))["at"]]
    return max((sign for sign in signs if sign), default=None)


def database() -> str:
    return router.db_for_write(ScheduledRun)


def _written(write: Callable[..., Any], *given: Any) -> Any:
    try:
        # In a transaction of the task's caller, a log that cannot be written must not break it.
        with transaction.atomic(using=database()):
            return write(*given)
    except (Error, TypeError, ValueError):
        logger.warning("A scheduled run could not be logged.", exc_info=True)
        return None


def _begin(task: str) -> ScheduledRun:
    now = timezone.now()
    gap = _gap(now)
    run = ScheduledRun(task=task, started_at=now, problem=_gap_text(gap) if gap else "", worker=_worker()[:255])
    if gap:
        run.result = {"gap_seconds": int(gap.total_seconds())}
        logger.warning("No worker was seen for %s before %s.", gap, task)
    run.save(using=database(), force_insert=True)
    return run


def _end(run: ScheduledRun | None, outcome: RunOutcome, result: dict[str, Any], problem: str) -> None:
    if run is None:
        return
    run.finished_at = timezone.now()
    run.outcome = outcome
    run.result = json.loads(json.dumps({**run.result, **result}, default=str))
    run.problem = " ".join(filter(None, (run.problem, storable(problem))))[:MOST_PROBLEM]
    run.save(using=database(), force_update=True)
    _forget(run.task)


def _forget(task: str) -> None:
    """Problems are kept apart, so that a task that runs each half minute does not push them out."""
    rows = ScheduledRun.objects.using(database()).filter(task=task).order_by("-pk")
    for kept in (rows.filter(problem=""), rows.exclude(problem="")):
        old = list(kept.values_list("pk", flat=True)[KEPT : KEPT + MOST_DELETED])
        if old:
            ScheduledRun.objects.using(database()).filter(pk__in=old).delete()


def _gap(now: datetime) -> timedelta | None:
    """How long no worker was seen before now, where that is too long."""
    seen = worker_seen()
    if seen is None or now - seen <= beat.LEAST_SILENCE:
        return None
    gap = now - seen
    return gap if gap > beat.silence(beat.entries().values()) else None


def _gap_text(gap: timedelta) -> str:
    minutes = round(gap.total_seconds() / 60)
    # What is stored as text is in the site's language, whatever the worker's is.
    with translation.override(settings.LANGUAGE_CODE):
        words = ngettext(
            "No worker was seen for %(count)d minute before this run.",
            "No worker was seen for %(count)d minutes before this run.",
            minutes,
        )
        return words % {"count": minutes}


def _worker() -> str:
    request = getattr(current_task, "request", None)
    return str(getattr(request, "hostname", None) or socket.gethostname())
