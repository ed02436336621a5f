"""What is scheduled, as rows of django-celery-beat. Run it after each upgrade: an operator's own changes stay."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import router, transaction
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing.schedules import SCHEDULES, Schedule
from django_token_pricing.tasks import beat

# Rows of ours are called like their task.
PREFIX = "django_token_pricing."


class Command(BaseCommand):
    help = "Installs what runs regularly into django-celery-beat; what an operator has changed there stays."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reset", action="store_true", help="Set intervals back to ours, and switch all on.")
        parser.add_argument("--dry-run", action="store_true", help="Say what would be done, and do nothing.")
        parser.add_argument("--check", action="store_true", help="Do nothing; exit with 1 where something is missing.")

    def handle(self, *args: Any, **options: Any) -> None:
        if not apps.is_installed("django_celery_beat"):
            return self._without_tables(is_check=options["check"])
        from django_celery_beat.models import PeriodicTask

        rows = {row.name: row for row in PeriodicTask.objects.filter(name__startswith=PREFIX)}
        planned = {name for name, row in rows.items() if row.task == name}
        if options["check"]:
            return self._check({schedule.task for schedule in SCHEDULES} - planned)
        # What is stored as text is in the site's language.
        with translation.override(settings.LANGUAGE_CODE), transaction.atomic(using=router.db_for_write(PeriodicTask)):
            for schedule in SCHEDULES:
                self._install(schedule, rows.get(schedule.task), reset=options["reset"], dry=options["dry_run"])
            gone = sorted(planned - {schedule.task for schedule in SCHEDULES})
            for name in gone:
                if not options["dry_run"]:
                    rows[name].delete()
                self.stdout.write(_("%(task)s: removed, there is no such task any more.") % {"task": name})
        if options["dry_run"]:
            self.stdout.write(_("Nothing was changed."))
        return None

    def _install(self, schedule: Schedule, row: Any, *, reset: bool, dry: bool) -> None:
        from django_celery_beat.models import PeriodicTask

        is_new = row is None
        if is_new:
            row = PeriodicTask(name=schedule.task)
        is_ours = row.enabled and row.interval is not None and row.interval.schedule.run_every == schedule.every
        takes_ours = is_new or (reset and not is_ours)
        is_old = (row.task, row.description) != (schedule.task, str(schedule.description))
        if not dry and (takes_ours or is_old):
            row.task, row.description = schedule.task, str(schedule.description)
            if takes_ours:
                row.interval, row.enabled = _interval(schedule), True
                row.crontab = row.solar = row.clocked = None
            row.save()
        if is_new:
            words = _("%(task)s: added, every %(seconds)d seconds.")
        elif takes_ours:
            words = _("%(task)s: set back to every %(seconds)d seconds.")
        elif not row.enabled:
            words = _("%(task)s: kept as it is, switched off.")
        elif not is_ours:
            words = _("%(task)s: kept as it is, %(own)s; ours is every %(seconds)d seconds.")
        elif is_old:
            words = _("%(task)s: its description was renewed.")
        else:
            words = _("%(task)s: there, every %(seconds)d seconds.")
        seconds = int(schedule.every.total_seconds())
        self.stdout.write(words % {"task": schedule.task, "seconds": seconds, "own": str(row.scheduler)})

    def _check(self, missing: set[str]) -> None:
        for task in sorted(missing):
            self.stdout.write(_("%(task)s: missing.") % {"task": task})
        if missing:
            words = ngettext("%(count)d task is not scheduled.", "%(count)d tasks are not scheduled.", len(missing))
            raise CommandError(words % {"count": len(missing)})
        self.stdout.write(_("All tasks are scheduled."))

    def _without_tables(self, *, is_check: bool) -> None:
        known = beat.entries()
        missing = {schedule.task for schedule in SCHEDULES if schedule.task not in known}
        if is_check:
            return self._check(missing)
        if not missing:
            self.stdout.write(_("django_celery_beat is not installed, and CELERY_BEAT_SCHEDULE has all tasks."))
            return None
        self.stdout.write(_("django_celery_beat is not installed. Write into your settings:"))
        self.stdout.write("")
        self.stdout.write("from django_token_pricing.schedules import beat_schedule")
        self.stdout.write("")
        self.stdout.write("CELERY_BEAT_SCHEDULE = {**beat_schedule()}")
        return None


def _interval(schedule: Schedule) -> Any:
    from django_celery_beat.models import IntervalSchedule

    period = {"every": int(schedule.every.total_seconds()), "period": IntervalSchedule.SECONDS}
    # Nothing keeps two intervals from being alike.
    return IntervalSchedule.objects.filter(**period).first() or IntervalSchedule.objects.create(**period)
