"""Who works on which job: a lease each, at most JOB_PARALLEL of them at a time over all workers.

Whoever takes a lease does so alone, so that a count of the others is still true when it is taken. The lease grows old
by the database's clock; those of the workers may differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import OperationalError, connections, models, transaction
from django.db.models import F, Q, QuerySet

from django_token_pricing import conf
from django_token_pricing.choices import JobStatus
from django_token_pricing.models import Job

WAITING = (JobStatus.PREPARING, JobStatus.QUEUED, JobStatus.RUNNING)
# What a worker has not said anything for so long is taken over.
SILENCE = timedelta(seconds=90)
# Names the lock of those who take a lease; the numbers are arbitrary, and ours.
TURN = (1_953_526_128, 1_785_684_594)
TURN_SECONDS = 30


class Clock(models.Func):
    """The database's clock as it is now, also within a transaction."""

    template = "clock_timestamp()"
    arity = 0
    output_field = models.DateTimeField()

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(
            compiler, connection, template="STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f000', 'NOW')", **context
        )


def free() -> Q:
    """Jobs that nobody works on, or whose worker has fallen silent."""
    return Q(worker=None) | Q(alive_at__lt=Clock() - SILENCE)


def waiting(using: str) -> QuerySet[Job]:
    """Jobs for a worker, the oldest first."""
    return Job.objects.using(using).filter(free(), status__in=WAITING).order_by("pk")


def busy(using: str) -> int:
    """How many jobs are being worked on."""
    fresh = Job.objects.using(using).filter(status__in=WAITING, alive_at__gte=Clock() - SILENCE)
    return fresh.exclude(worker=None).count()


def take(pk: int, lease: UUID, using: str, *, is_counted: bool) -> bool:
    """Take the lease of a job that waits for a worker, where there is room for one more (`is_counted`)."""
    with _turn(using):
        # A row that is locked is being worked on, however long its chunk takes: nobody waits for it here.
        if _unlocked(waiting(using).filter(pk=pk), using).first() is None:
            return False
        if is_counted and busy(using) >= conf.current().JOB_PARALLEL:
            return False
        taken = waiting(using).filter(pk=pk).order_by().update(worker=lease, alive_at=Clock())
        return bool(taken)


def next_in_turn(using: str, *, but: int) -> list[int]:
    """The oldest jobs that wait, but for one, as many as there is room for."""
    room = conf.current().JOB_PARALLEL - busy(using)
    return list(waiting(using).exclude(pk=but).values_list("pk", flat=True)[:room]) if room > 0 else []


def _unlocked(rows: QuerySet[Job], using: str) -> QuerySet[Job]:
    features = connections[using].features
    return rows.select_for_update(
        skip_locked=features.has_select_for_update_skip_locked, no_key=features.has_select_for_no_key_update
    )


@contextmanager
def _turn(using: str) -> Iterator[None]:
    """A transaction for one at a time."""
    connection = connections[using]
    if connection.vendor == "mysql":
        # The name counts for the whole server.
        name = f"tp_jobs_{connection.settings_dict['NAME']}"[:64]
        with connection.cursor() as cursor:
            cursor.execute("SELECT GET_LOCK(%s, %s)", [name, TURN_SECONDS])
            if cursor.fetchone() != (1,):
                raise OperationalError("The lock of those who take a job was not given.")
        try:
            with transaction.atomic(using=using):
                yield
        finally:
            with connection.cursor() as cursor:
                cursor.execute("SELECT RELEASE_LOCK(%s)", [name])
        return
    with transaction.atomic(using=using):
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", TURN)
        else:
            # SQLite has one writer, who is alone. One that read first may find that it can write no more.
            Job.objects.using(using).filter(pk=0).update(position=F("position"))
        yield
