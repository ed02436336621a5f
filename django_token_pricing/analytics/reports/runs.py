"""Each export is kept: who asked for what, when, with which filters, and the job that writes what has many rows."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from django_token_pricing import audit, jobs
from django_token_pricing.analytics.reports import writing
from django_token_pricing.analytics.reports.tables import Terms
from django_token_pricing.exceptions import InvalidInput
from django_token_pricing.lib.rows import SheetError
from django_token_pricing.models import AnalyticsExport, Job

KIND = "export.analytics"
APP = "django_token_pricing"
NEEDED = ("view_analytics", "export_analytics")


def may_export(user: Any, *, with_costs: bool) -> bool:
    needed = (*NEEDED, "view_costs") if with_costs else NEEDED
    return all(user.has_perm(f"{APP}.{name}") for name in needed)


def record(
    terms: Terms, format_name: str, *, actor: Any, reason: str = "", rows: int | None = None, job: Job | None = None
) -> AnalyticsExport:
    """Keep that it was asked for; `rows` are told where they are known. Of a job it is kept once."""
    with transaction.atomic():
        if job is not None and (known := AnalyticsExport.objects.filter(job=job).first()) is not None:
            return known
        told = {name: (None, value) for name, value in terms.stored().items() if name != "with_costs" and value}
        event = audit.record(
            KIND,
            actor=actor,
            reason=reason,
            changes={**told, "format": (None, format_name)},
            count=1 if rows is None else rows,
        )
        return AnalyticsExport.objects.create(
            report=terms.report,
            format=format_name,
            filters=terms.stored(),
            rows=rows,
            created_at=timezone.now(),
            event=event,
            job=job,
        )


def ask(terms: Terms, format_name: str, *, actor: Any, key: UUID, reason: str = "") -> AnalyticsExport:
    """Have a job write the file. The same key gives the export that there is already."""
    params = {"terms": terms.stored(), "format": format_name, "reason": reason}
    with transaction.atomic():
        job = jobs.create(KIND, params=params, actor=actor, key=key, file_name=writing.file_name(terms, format_name))
        return record(terms, format_name, actor=actor, reason=reason, job=job)


@jobs.register
class ExportAnalytics(jobs.Handler):
    """`params`: the stored `terms`, `format`, `reason`."""

    kind = KIND
    permission = f"{APP}.export_analytics"
    is_confirmed = False
    writes_file = True

    def title(self, job: Job) -> str:
        report = writing.REPORTS.get(job.params["terms"]["report"])
        return _("Export of analytics: %(report)s") % {"report": report.title if report else ""}

    def permits(self, user: Any, job: Job) -> bool:
        return may_export(user, with_costs=job.params["terms"]["with_costs"])

    def prepare(self, job: Job, beat: jobs.Beat) -> None:
        """Writes the file, if who asked for it may still have it."""
        # All the work is done here, and the rate is shown by it.
        Job.objects.using(job._state.db).filter(pk=job.pk).update(started_at=timezone.now())
        terms = Terms.restored(job.params["terms"])
        if job.actor is None or not self.permits(job.actor, job):
            raise InvalidInput(detail=_("Who asked for this file may not have it any more."))
        job.total = writing.count(terms, MOST_COUNTED)
        beat()
        try:
            with jobs.FileWriter(job) as file:
                for written in writing.write(terms, job.params["format"], file, asked_by=job.actor_label):
                    job.position = written
                    beat()
        except SheetError as error:
            raise InvalidInput(detail=_(error.template) % error.facts) from error
        job.done = job.total = job.position

    def finish(self, job: Job) -> None:
        AnalyticsExport.objects.using(job._state.db).filter(job=job).update(rows=job.done)


# Far above what a file can hold.
MOST_COUNTED = 20_000_000
