from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.utils.translation import gettext as _

from django_token_pricing import jobs
from django_token_pricing.models import Job
from django_token_pricing.tasks.runs import recorded


class Command(BaseCommand):
    help = "Takes every job that waits for a worker as far as it goes, one after the other."

    def handle(self, *args: Any, **options: Any) -> None:
        with recorded("django_token_pricing.jobs.sweep") as result:
            waiting = jobs.sweep()
            result["jobs"] = len(waiting)
        for number in waiting:
            jobs.work(number)
            job = Job.objects.get(pk=number)
            words = _("Job %(number)s: %(status)s, %(done)s of %(total)s rows done, %(failed)s with errors.")
            self.stdout.write(
                words
                % {
                    "number": number,
                    "status": job.get_status_display(),
                    "done": job.done + job.skipped,
                    "total": job.total,
                    "failed": job.failed,
                }
            )
