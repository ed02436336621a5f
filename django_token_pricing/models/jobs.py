"""Bulk work: what is to be done, to which rows, how far it has come, and the files that go in or come out."""

from __future__ import annotations

from uuid import uuid4

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from django_token_pricing.choices import JobStatus
from django_token_pricing.models.audit import AuditEvent


class Job(models.Model):
    """A deed on many rows. Its rows are frozen before anyone confirms it; what was previewed is what is done."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    key = models.UUIDField(_("key"), default=uuid4, unique=True, help_text=_("A form sent twice makes one job."))
    kind = models.CharField(_("what"), max_length=60)
    status = models.CharField(_("state"), max_length=10, choices=JobStatus.choices, default=JobStatus.PREPARING)
    params = models.JSONField(_("terms"), default=dict, blank=True)
    preview = models.JSONField(_("preview"), default=dict, blank=True)
    result = models.JSONField(_("result"), default=dict, blank=True)
    file_name = models.CharField(_("file"), max_length=255, blank=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        verbose_name=_("asked for by"),
    )
    actor_label = models.CharField(_("name of who asked"), max_length=255, blank=True)
    reason = models.TextField(_("why"), blank=True)
    event = models.ForeignKey(
        AuditEvent, on_delete=models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("audit event")
    )
    total = models.PositiveBigIntegerField(_("rows"), default=0)
    position = models.PositiveBigIntegerField(
        _("position"), default=0, help_text=_("Number of the last row that was decided.")
    )
    done = models.PositiveBigIntegerField(_("done"), default=0)
    skipped = models.PositiveBigIntegerField(_("skipped"), default=0)
    failed = models.PositiveBigIntegerField(_("with errors"), default=0)
    problem = models.TextField(_("what stopped it"), blank=True)
    created_at = models.DateTimeField(_("asked for"), auto_now_add=True)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    most_errors = models.PositiveSmallIntegerField(
        _("stops at errors"),
        null=True,
        blank=True,
        help_text=_("In per cent of the rows that were decided. Empty: it goes on whatever fails."),
    )
    undo_of = models.OneToOneField(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="undone_by",
        verbose_name=_("takes back"),
    )
    pace = models.JSONField(
        _("pace"),
        default=list,
        blank=True,
        help_text=_("Moments of the last minute of work, in seconds, and how many rows were decided by then."),
    )
    worker = models.UUIDField(
        _("worker"), null=True, blank=True, help_text=_("Who works on it, as long as the sign of life is fresh.")
    )
    alive_at = models.DateTimeField(_("last sign of life"), null=True, blank=True)

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        indexes = [
            models.Index(fields=["status", "alive_at"], name="tp_job_status"),
            models.Index(fields=["actor", "id"], name="tp_job_actor"),
        ]

    def __str__(self) -> str:
        return str(_("Job %(number)s") % {"number": self.pk})

    @property
    def decided(self) -> int:
        return self.done + self.skipped + self.failed

    @property
    def to_go(self) -> int:
        return max(self.total - self.decided, 0)


class JobRow(models.Model):
    """One row of a job: the target, or what a line of a file says. `number` is its place, of a file the line."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="rows", db_index=False, verbose_name=_("job"))
    number = models.PositiveBigIntegerField(_("row"))
    target = models.BigIntegerField(_("target"), null=True, blank=True)
    data = models.JSONField(_("data"), null=True, blank=True)
    code = models.CharField(_("code"), max_length=60, blank=True, help_text=_("Of the first thing that is wrong."))
    problems = models.JSONField(_("problems"), null=True, blank=True)

    class Meta:
        verbose_name = _("row of a job")
        verbose_name_plural = _("rows of jobs")
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="tp_jobrow_number")]
        indexes = [models.Index(fields=["job", "number"], name="tp_jobrow_problem", condition=~Q(code=""))]

    def __str__(self) -> str:
        return f"{self.job_id} · {self.number}"


class JobFile(models.Model):
    """A piece of the file that a job reads or has written. In the database no other page can serve it."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="pieces", db_index=False, verbose_name=_("job"))
    number = models.PositiveIntegerField(_("piece"))
    content = models.BinaryField(_("content"))

    class Meta:
        verbose_name = _("piece of a file")
        verbose_name_plural = _("pieces of files")
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="tp_jobfile_number")]

    def __str__(self) -> str:
        return f"{self.job_id} · {self.number}"
