"""A job's life: asked for, prepared, confirmed, done chunk by chunk; paused, cancelled, taken over from a dead worker.

The job's row is the lock. Whoever works on it holds a lease, the worker's id with a sign of life; each transaction
starts with an UPDATE that names the lease, so a worker that was taken over finds no row and stops. What a chunk books
and the position after it commit together: a chunk is done once, whoever dies. A commit of which the answer was lost is
no danger either: the next transaction reads how far the job is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4, uuid5

from django.conf import settings
from django.db import InterfaceError, OperationalError, connections, models, router, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from django_token_pricing import audit, conf, signals
from django_token_pricing.choices import JobStatus
from django_token_pricing.exceptions import InvalidInput, JobChanged, TokenPricingError
from django_token_pricing.jobs import leases
from django_token_pricing.jobs.files import store
from django_token_pricing.jobs.handlers import ENOUGH, Handler, Stopped, failing, handler_of
from django_token_pricing.jobs.leases import WAITING, Clock
from django_token_pricing.jobs.progress import OVER, paced
from django_token_pricing.lib.steps import steps
from django_token_pricing.models import AuditEvent, Job, JobFile, JobRow

logger = logging.getLogger(__name__)

# A chunk that met a deadlock, a lock that was not given or a connection that broke is tried again, each time later.
TRIES = 5
FIRST_WAIT = 0.05
# A preview that nobody confirmed or dropped for so long shows figures of the past.
MOST_PREVIEW = timedelta(days=2)
# The kind is registered by notifications, which stand above those who announce.
ANNOUNCING = "notifications.tokens"
ANNOUNCEMENTS = UUID("6f9a7f2e-2d0d-4c8e-9a55-3f1f6a3c0b0e")


def database() -> str:
    return router.db_for_write(Job)


def create(
    kind: str,
    *,
    params: dict[str, Any],
    actor: Any,
    key: UUID,
    file_name: str = "",
    file: Iterable[bytes] = (),
    now: bool = False,
) -> Job:
    """Ask for a job. The same key gives the job that is there already.

    A worker prepares it; with `now` it is prepared before this returns, which is for few rows. `file` is what it reads.
    Raises TokenPricingError for terms with which it could do nothing, and KeyError for a kind that nobody registered.
    """
    handler_of(Job(kind=kind)).check(params)
    using = database()
    with transaction.atomic(using=using):
        # A transaction of SQLite that has read may find that it can write no more.
        Job.objects.using(using).filter(key=key).update(key=key)
        job, is_new = Job.objects.using(using).get_or_create(
            key=key,
            defaults={
                "kind": kind,
                "params": params,
                "actor_id": None if actor is None else actor.pk,
                "actor_label": audit.label(actor),
                "file_name": file_name[:255],
            },
        )
        if is_new:
            store(job, file)
    return started(job, now=now, using=using) if is_new else job


def started(job: Job, *, now: bool, using: str) -> Job:
    """Have a new job prepared: by a worker, or with `now` before this returns."""
    if not now:
        call_worker(job.pk, using)
        return job
    # Somebody waits for it, and it has few rows: it does not queue up behind the work of others.
    _work(job.pk, using, is_counted=False)
    job.refresh_from_db()
    return job


def announce(event: AuditEvent, *, actor: Any) -> Job:
    """Tell the users what a deed did to their tokens: a job of its own, one for each deed."""
    return create(ANNOUNCING, params={"event": event.pk}, actor=actor, key=uuid5(ANNOUNCEMENTS, str(event.pk)))


def confirm(job: Job, *, reason: str, actor: Any, most_errors: int | None = None) -> Job:
    """Let what was prepared be done.

    With `most_errors` it pauses when more than so many per cent of the rows that were decided could not be done; rows
    that the preview had set aside do not count. Raises JobChanged if it is not waiting for that, InvalidInput without
    a reason, where the preview shows that it cannot be done, and for kinds of work that do not stop at errors.
    """
    if not reason.strip():
        raise InvalidInput(detail=_("A reason is needed: it is what the audit trail will say."))
    if most_errors is not None and not (handler_of(job).stops_at_errors and 0 <= most_errors <= 100):
        raise InvalidInput(detail=_("This work cannot stop at %(share)s%% of errors.") % {"share": most_errors})
    using = database()
    with transaction.atomic(using=using):
        found = _moved(job, [JobStatus.READY], JobStatus.QUEUED, using)
        if refusal := handler_of(found).refusal(found):
            raise InvalidInput(detail=refusal)
        found.reason = reason
        found.most_errors = most_errors
        found.preview["set_aside"] = found.failed
        found.event = audit.record(
            f"jobs.{found.kind}",
            target=found,
            actor=actor,
            reason=reason,
            changes=handler_of(found).facts(found),
            count=found.total,
            using=using,
        )
        found.save(using=using, update_fields=["reason", "most_errors", "preview", "event"])
        call_worker(found.pk, using)
    return found


def cancel(job: Job, *, actor: Any, reason: str = "") -> Job:
    """Leave the rest undone; what is done stays. Raises JobChanged if the job is over."""
    using = database()
    with transaction.atomic(using=using):
        from_ = [status for status in JobStatus if status not in OVER]
        found = _moved(job, from_, JobStatus.CANCELED, using)
        found.finished_at = timezone.now()
        found.save(using=using, update_fields=["finished_at"])
        changes = {"status": (job.status, found.status), "done": (None, found.done)}
        audit.record("jobs.cancel", target=found, actor=actor, reason=reason, changes=changes, using=using)
        _call_next(found.pk, using)
    return found


def pause(job: Job, *, actor: Any) -> Job:
    """Stop after the chunk that is being done. Raises JobChanged if the job is not under way."""
    return _audited("jobs.pause", job, [JobStatus.QUEUED, JobStatus.RUNNING], JobStatus.PAUSED, actor)


def resume(job: Job, *, actor: Any) -> Job:
    """Go on with what was paused. What paused itself because of errors goes on whatever fails.

    Raises JobChanged if it was not paused.
    """
    return _audited("jobs.resume", job, [JobStatus.PAUSED], JobStatus.QUEUED, actor)


def _audited(action: str, job: Job, from_: list[JobStatus], to: JobStatus, actor: Any) -> Job:
    using = database()
    with transaction.atomic(using=using):
        before = job.status
        found = _moved(job, from_, to, using)
        audit.record(action, target=found, actor=actor, changes={"status": (before, to.value)}, using=using)
        if to == JobStatus.QUEUED:
            if found.problem:
                found.problem, found.most_errors = "", None
                found.save(using=using, update_fields=["problem", "most_errors"])
            call_worker(found.pk, using)
        else:
            _call_next(found.pk, using)
    return found


def _moved(job: Job, from_: list[JobStatus], to: JobStatus, using: str) -> Job:
    """The job in its new state, locked. Of two who move it at once the second finds it moved."""
    rows = Job.objects.using(using).filter(pk=job.pk, status__in=from_)
    # Whoever works on it loses the lease, and the next worker need not wait for it to grow old.
    if not rows.update(status=to, worker=None, alive_at=Clock()):
        found = Job.objects.using(using).filter(pk=job.pk).first()
        raise JobChanged(job=job.pk, status=found.get_status_display() if found else _("gone"))
    return Job.objects.using(using).get(pk=job.pk)


def call_worker(pk: int, using: str) -> None:
    tell = partial(signals.job_waiting.send_robust, sender=Job, job=pk)
    transaction.on_commit(tell, using=using)


def _call_next(pk: int, using: str) -> None:
    """There may be room for jobs that had to wait for this one. Who is called in vain leaves again."""

    def call() -> None:
        with suppress(OperationalError, InterfaceError):  # then the sweep calls them
            for number in leases.next_in_turn(using, but=pk):
                signals.job_waiting.send_robust(sender=Job, job=number)

    transaction.on_commit(call, using=using)


# In a worker ----------------------------------------------------------------------------------------------------------


def work(pk: int) -> None:
    """Take the job as far as it goes: prepare it, or do its chunks. Answers when there is nothing to do for a worker.

    Safe to call at any time, from anywhere, twice at once: one holds the lease, the other leaves. While JOB_PARALLEL
    others are being worked on it leaves as well, and the job is called when its turn comes.
    """
    _work(pk, database(), is_counted=True)


def _work(pk: int, using: str, *, is_counted: bool) -> None:
    lease = uuid4()
    if not leases.take(pk, lease, using, is_counted=is_counted):
        return
    try:
        _go_on(pk, lease, using)
    finally:
        if is_counted and not connections[using].needs_rollback:
            _call_next(pk, using)


def _go_on(pk: int, lease: UUID, using: str) -> None:
    job = Job.objects.using(using).get(pk=pk)
    try:
        # What is stored as text is in the site's language, whatever the worker's is.
        with translation.override(settings.LANGUAGE_CODE):
            handler = handler_of(job)
            if job.status == JobStatus.PREPARING:
                _prepare(job, handler, lease, using)
            if job.status != JobStatus.READY:
                _do(job, handler, lease, using)
    except Stopped:
        return
    except TokenPricingError as error:
        _fail(pk, lease, error.message, using)
    except (OperationalError, InterfaceError):
        # The database was not there or not free. The sweep calls another worker; nothing is lost.
        _let_go(pk, lease, using)
        logger.exception("Job %s was left for the next worker", pk)
        raise
    except Exception:
        _fail(pk, lease, _("An error of the software stopped it; the log has the details."), using)
        logger.exception("Job %s stopped", pk)
        raise


def _prepare(job: Job, handler: Handler, lease: UUID, using: str) -> None:
    def beat() -> None:
        _keep(job, lease, using, ["total", "position"])

    handler.prepare(job, beat)
    job.status, job.position = (JobStatus.READY if handler.is_confirmed else JobStatus.QUEUED), 0
    fields = ["status", "total", "position", "done", "skipped", "failed", "preview", "result", "file_name"]
    _keep(job, lease, using, fields, release=handler.is_confirmed)


# What a chunk changes; the other fields are left to those who move the job.
MOVED = ["status", "position", "done", "skipped", "failed", "result", "pace", "problem", "started_at", "finished_at"]


def _do(job: Job, handler: Handler, lease: UUID, using: str) -> None:
    tries, is_first, goes_on = 0, True, True
    while goes_on:
        try:
            with transaction.atomic(using=using):
                job = _held(job.pk, lease, using)
                if job.status == JobStatus.QUEUED:
                    job.status = JobStatus.RUNNING
                    job.started_at = job.started_at or timezone.now()
                pace = paced([] if is_first else job.pace, job.decided)
                goes_on = _step(job, handler)
                job.pace = paced(pace, job.decided)
                _keep(job, lease, using, MOVED, release=not goes_on)
        except (OperationalError, InterfaceError):
            tries += 1
            if tries >= TRIES or connections[using].in_atomic_block:
                raise
            goes_on = True
            time.sleep(FIRST_WAIT * 3 ** (tries - 1))
            continue
        tries, is_first = 0, False


def _step(job: Job, handler: Handler) -> bool:
    """Do the next piece; whether there is another to do now."""
    goes_on = handler.step(job)
    words = _too_many_errors(job)
    if not goes_on:
        job.status, job.finished_at, job.problem = JobStatus.DONE, timezone.now(), words
        handler.finish(job)
    elif words and job.to_go:
        job.status, job.problem = JobStatus.PAUSED, words
        changes = {"status": (JobStatus.RUNNING.value, JobStatus.PAUSED.value), "failed": (None, job.failed)}
        audit.record("jobs.pause", target=job, reason=words, changes=changes, using=job._state.db)
        goes_on = False
    return goes_on


def _too_many_errors(job: Job) -> str:
    failed, decided = failing(job)
    if job.most_errors is None or failed * 100 <= job.most_errors * decided or (decided < ENOUGH and job.to_go):
        return ""
    words = _("%(failed)s of %(decided)s rows could not be done, which is more than %(most)s%%.")
    return words % {"failed": failed, "decided": decided, "most": job.most_errors}


def _held(pk: int, lease: UUID, using: str) -> Job:
    """The job, locked by a write, if the lease is still ours."""
    rows = Job.objects.using(using).filter(pk=pk, worker=lease, status__in=WAITING)
    if not rows.update(alive_at=Clock()):
        raise Stopped
    return Job.objects.using(using).select_related("event").get(pk=pk)


def _keep(job: Job, lease: UUID, using: str, fields: list[str], *, release: bool = False) -> None:
    """Save these fields if the lease is still ours."""
    values = {name: getattr(job, name) for name in fields}
    rows = Job.objects.using(using).filter(pk=job.pk, worker=lease, status__in=WAITING)
    if not rows.update(**values, alive_at=Clock(), **({"worker": None} if release else {})):
        raise Stopped


def _let_go(pk: int, lease: UUID, using: str) -> None:
    with suppress(OperationalError, InterfaceError):  # then it grows old
        Job.objects.using(using).filter(pk=pk, worker=lease).update(worker=None)


def _fail(pk: int, lease: UUID, problem: str, using: str) -> None:
    Job.objects.using(using).filter(pk=pk, worker=lease).update(
        status=JobStatus.FAILED, problem=problem, finished_at=timezone.now(), worker=None
    )


# Regularly ------------------------------------------------------------------------------------------------------------


def sweep() -> list[int]:
    """Clean up, and answer the jobs that wait for a worker or whose worker has fallen silent: call `work` for each.

    Files and rows of jobs that are over go after JOB_RETENTION; what the job did, how much and why stays. A preview
    that nobody confirmed for two days is cancelled.
    """
    using = database()
    now = timezone.now()
    jobs = Job.objects.using(using)
    stale = jobs.filter(status=JobStatus.READY, alive_at__lt=Clock() - MOST_PREVIEW)
    stale.update(status=JobStatus.CANCELED, finished_at=now, problem=_("Nobody confirmed the preview."))
    over = jobs.filter(status__in=OVER, finished_at__lt=now - conf.current().JOB_RETENTION)
    left = Exists(JobRow.objects.using(using).filter(job=OuterRef("pk")))
    files = Exists(JobFile.objects.using(using).filter(job=OuterRef("pk")))
    for pk in list(over.filter(left | files).values_list("pk", flat=True)):
        _empty(pk, using)
    return list(leases.waiting(using).values_list("pk", flat=True))


def _empty(pk: int, using: str) -> None:
    for model in (JobFile, JobRow):
        rows: models.QuerySet[Any] = model._default_manager.using(using).filter(job=pk)
        while numbers := list(rows.order_by("pk").values_list("pk", flat=True)[:5_000]):
            for step in steps(numbers):
                rows.filter(pk__in=step)._raw_delete(using)
