from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from django_token_pricing.automation import renewals
from django_token_pricing.choices import JobStatus
from django_token_pricing.tasks.runs import recorded


class Command(BaseCommand):
    help = "Renews the subscriptions that are due, here and now. Safe to run at any time, also twice at once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--as-of", metavar="MOMENT", help="ISO 8601 with a zone; by default now.")

    def handle(self, *args: Any, **options: Any) -> None:
        as_of = _moment(options["as_of"])
        with recorded("django_token_pricing.automation.renew") as run:
            job = renewals.start(as_of=as_of, now=True)
            run["job"] = None if job is None else job.pk
        if job is None:
            self.stdout.write(_("Nothing is due."))
            return
        if job.status == JobStatus.FAILED:
            raise CommandError(job.problem)
        if job.status == JobStatus.PAUSED:
            raise CommandError(_("%(job)s is paused: resume or cancel it first.") % {"job": job})
        told = {"job": job, "done": job.done, "failed": job.failed, "tokens": job.result.get("granted", 0)}
        self.stdout.write(
            _("%(job)s: %(done)s subscriptions were renewed with %(tokens)s tokens, and %(failed)s failed.") % told
        )


def _moment(text: str | None) -> Any:
    if text is None:
        return timezone.now()
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None or timezone.is_naive(moment):
        raise CommandError(_("“%(text)s” is no moment with a zone; write 2026-11-30T00:00:00Z.") % {"text": text})
    return moment
