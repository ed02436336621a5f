"""Runs of scheduled tasks: when, on which worker, with what result."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_token_pricing.choices import RunOutcome


class ScheduledRun(models.Model):
    """One run of a scheduled task. The newest one of any task is also the sign that a worker is there."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    task = models.CharField(_("task"), max_length=100)
    started_at = models.DateTimeField(_("started"))
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    outcome = models.CharField(_("outcome"), max_length=7, choices=RunOutcome.choices, default=RunOutcome.RUNNING)
    result = models.JSONField(_("result"), default=dict, blank=True)
    problem = models.TextField(_("problem"), blank=True)
    worker = models.CharField(_("worker"), max_length=255, blank=True)

    class Meta:
        verbose_name = _("run of a scheduled task")
        verbose_name_plural = _("runs of scheduled tasks")
        permissions = [("run_tasks", _("Can run scheduled tasks now"))]
        indexes = [
            models.Index(fields=["task", "id"], name="tp_run_task"),
            models.Index(fields=["started_at"], name="tp_run_started"),
        ]

    def __str__(self) -> str:
        return self.task
