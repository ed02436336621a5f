"""What Celery's beat was told of our tasks: in CELERY_BEAT_SCHEDULE, or in the tables of django-celery-beat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from celery.schedules import BaseSchedule, maybe_schedule
from django.apps import apps
from django.conf import settings
from django.utils import timezone

from django_token_pricing.schedules import SCHEDULES

# Where nothing is scheduled, cron may call the commands: rarely more often than each five minutes.
CRON_SILENCE = timedelta(minutes=15)
LEAST_SILENCE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Entry:
    """One task's place in beat's schedule; `pk` is its row's, where it is one."""

    task: str
    schedule: BaseSchedule
    words: str
    is_enabled: bool = True
    pk: int | None = None

    @property
    def every(self) -> timedelta | None:
        """None where it does not run at intervals, but by the clock."""
        found: timedelta | None = getattr(self.schedule, "run_every", None)
        return found

    def next_after(self, moment: datetime) -> datetime:
        left: timedelta = self.schedule.remaining_estimate(moment)
        return timezone.now() + left


def entries() -> dict[str, Entry]:
    """By task. Of several for one task that which runs most often counts; one query where beat has tables."""
    tasks = {schedule.task for schedule in SCHEDULES}
    found: dict[str, Entry] = {}
    for entry in (*_of_settings(), *_of_tables(tasks)):
        if entry.task in tasks and (entry.task not in found or _rank(entry) < _rank(found[entry.task])):
            found[entry.task] = entry
    return found


def silence(known: Iterable[Entry]) -> timedelta:
    """After so long without a run, no worker is there: three times the shortest interval."""
    intervals = [entry.every for entry in known if entry.is_enabled and entry.every]
    return max(3 * min(intervals), LEAST_SILENCE) if intervals else CRON_SILENCE


def _rank(entry: Entry) -> tuple[bool, timedelta, bool]:
    return (not entry.is_enabled, entry.every or timedelta.max, entry.pk is None)


def _of_settings() -> Iterator[Entry]:
    for given in getattr(settings, "CELERY_BEAT_SCHEDULE", {}).values():
        schedule = maybe_schedule(given.get("schedule"))
        if isinstance(schedule, BaseSchedule):
            yield Entry(str(given.get("task")), schedule, str(schedule))


def _of_tables(tasks: set[str]) -> Iterator[Entry]:
    if not apps.is_installed("django_celery_beat"):
        return
    from django_celery_beat.models import PeriodicTask

    rows: Any = PeriodicTask.objects.filter(task__in=tasks)
    for row in rows.select_related("interval", "crontab", "solar", "clocked").order_by("pk"):
        if row.scheduler is not None:
            yield Entry(row.task, row.schedule, str(row.scheduler), row.enabled, row.pk)
