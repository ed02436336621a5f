"""Taking back what a job did: a job of its own, prepared, previewed and confirmed like any other.

Which kind of job that is and what can still be taken back is said by the handler of the job that did it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from django_token_pricing import audit, conf
from django_token_pricing.choices import JobStatus
from django_token_pricing.exceptions import InvalidInput, JobChanged
from django_token_pricing.jobs.engine import database, started
from django_token_pricing.jobs.handlers import Undo, handler_of
from django_token_pricing.jobs.progress import OVER
from django_token_pricing.models import Job


def undoable(job: Job, *, as_of: datetime | None = None) -> Undo:
    """Whether the job can be taken back now, how, and until when; `refusal` says why not.

    It can for JOB_RETENTION after its end, or as long as anything of it lives. Raises KeyError for a kind that nobody
    registered.
    """
    handler = handler_of(job)
    if not handler.undo_kind:
        return handler.undo(job)
    if job.status not in OVER:
        return Undo(refusal=_("It is not over yet: let it finish, or cancel the rest first."))
    found = handler.undo(job)
    if found.refusal:
        return found
    ends = (job.finished_at or job.created_at) + conf.current().JOB_RETENTION
    until = min(ends, found.until or ends)
    if until <= (as_of or timezone.now()):
        return replace(found, until=until, refusal=_("The time in which it could be taken back is over."))
    if not job.done:
        return Undo(refusal=_("It did nothing that could be taken back."))
    return replace(found, until=until)


def undo(job: Job, *, reason: str, actor: Any, key: UUID, now: bool = False) -> Job:
    """Ask for the job that takes back what is left of what this one did; nothing is done before it is confirmed.

    `reason` is proposed to who confirms. The same key gives the job that is there already. A job is taken back once;
    only where that was dropped, cancelled or failed it can be asked for again. Raises InvalidInput where it cannot be
    taken back, JobChanged where it is being so or was.
    """
    using = database()
    with transaction.atomic(using=using):
        # Of two who ask at once the second waits here.
        Job.objects.using(using).filter(pk=job.pk).update(key=job.key)
        known = Job.objects.using(using).filter(key=key).first()
        if known is not None:
            if known.params.get("undoes") != job.pk:
                raise InvalidInput(detail=_("The key was used before for something else."))
            return known
        job = Job.objects.using(using).select_related("event").get(pk=job.pk)
        found = undoable(job)
        if found.refusal:
            raise InvalidInput(detail=found.refusal)
        _leave_what_failed(job, using)
        undoing = Job.objects.using(using).create(
            key=key,
            kind=handler_of(job).undo_kind,
            params={"undoes": job.pk},
            undo_of=job,
            reason=reason,
            actor_id=None if actor is None else actor.pk,
            actor_label=audit.label(actor),
        )
    return started(undoing, now=now, using=using)


def undoing_of(job: Job) -> Job | None:
    """The job that takes this one back, or did."""
    return Job.objects.using(job._state.db).defer("preview").filter(undo_of=job).first()


def is_final(undoing: Job) -> bool:
    """Whether this undo leaves no room for another: it is under way, or it was done."""
    return undoing.status not in (JobStatus.CANCELED, JobStatus.FAILED)


def _leave_what_failed(job: Job, using: str) -> None:
    """Make room for another undo where the one before came to nothing, or not to its end."""
    before = Job.objects.using(using).filter(undo_of=job).first()
    if before is None:
        return
    if is_final(before):
        raise JobChanged(job=before.pk, status=before.get_status_display())
    Job.objects.using(using).filter(pk=before.pk).update(undo_of=None)
