"""What Celery's worker and beat do, for sites that have cron alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from celery import current_app
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing import tasks
from django_token_pricing.models import ScheduledRun
from django_token_pricing.schedules import SCHEDULES

# Its task hands jobs to workers; the command does them. It comes last, since other tasks ask for jobs.
SWEEP = tasks.jobs.sweep.name
# Cron is not exact to the second.
TOLERANCE = timedelta(seconds=10)


class Command(BaseCommand):
    help = (
        "Runs every scheduled task that is due, here and now. For sites without Celery: call it from cron each minute."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        due = _due(timezone.now())
        failed = 0
        for task in [task for task in due if task != SWEEP]:
            failed += not self._run(task)
        if SWEEP in due:
            call_command("token_pricing_work", stdout=self.stdout, stderr=self.stderr)
        if failed:
            words = ngettext("%(count)d task failed.", "%(count)d tasks failed.", failed)
            raise CommandError(words % {"count": failed})
        if not due:
            self.stdout.write(_("Nothing is due."))

    def _run(self, task: str) -> bool:
        try:
            result = current_app.tasks[task]()
        except Exception as error:  # noqa: BLE001 - the other tasks have nothing to do with it, and the log has it
            self.stderr.write(f"{task}: {type(error).__name__}: {error}")
            return False
        self.stdout.write(f"{task}: {result}")
        return True


def _due(now: datetime) -> list[str]:
    runs = ScheduledRun.objects.order_by().values_list("task").annotate(Max("started_at"))
    last: dict[str, datetime] = dict(runs)
    return [
        schedule.task
        for schedule in SCHEDULES
        if schedule.task not in last or last[schedule.task] + schedule.every - TOLERANCE <= now
    ]
