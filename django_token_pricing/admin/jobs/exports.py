"""What the page of a job says of an export: the file, or that there is none any more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing import conf
from django_token_pricing.admin.base.exports import may_download
from django_token_pricing.admin.base.wording import NOTHING, number
from django_token_pricing.admin.jobs.panels import Panel, register
from django_token_pricing.choices import JobStatus
from django_token_pricing.models import Job, JobFile


@register(
    "export.tokenaccount",
    "export.tokenallocation",
    "export.ledgerentry",
    "export.tokenusagelog",
    "export.auditevent",
    "export.analytics",
)
class ExportPanel(Panel):
    course_template = "django_token_pricing/admin/jobs/file.html"

    def preparing(self) -> str:
        return _("The file is being written. It will be here when it is done.")

    def kept(self) -> str:
        days = conf.current().JOB_RETENTION.days
        words = ngettext("The file is kept for %(count)s day.", "The file is kept for %(count)s days.", days)
        return words % {"count": number(days)}

    def facts(self) -> Iterable[tuple[str, Any]]:
        yield _("File"), self.job.file_name
        if "query" in self.job.params:
            yield _("Filters"), self.job.params["query"] or NOTHING
        yield _("Reason"), self.job.params["reason"] or NOTHING

    @property
    def is_done(self) -> bool:
        return self.job.status == JobStatus.DONE

    @cached_property
    def download_url(self) -> str:
        """Empty where the file is gone or is not this person's to have."""
        there = JobFile.objects.filter(job=self.job).exists()
        if not self.is_done or not there or not may_download(self.site, self.request, self.job):
            return ""
        opts = Job._meta
        route = f"admin:{opts.app_label}_{opts.model_name}_download"
        return reverse(route, args=(self.job.pk,), current_app=self.site.name)
