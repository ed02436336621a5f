"""Who did what to which row, when, why, from what to what."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_token_pricing.models.base import AppendOnlyModel


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    """Search, narrowed step by step; every step is served by an index."""

    def by(self, actor: models.Model) -> AuditEventQuerySet:
        return self.filter(actor_id=actor.pk)

    def of(self, target: models.Model) -> AuditEventQuerySet:
        return self.filter(target_type=target._meta.label_lower, target_id=str(target.pk))

    def action(self, name: str) -> AuditEventQuerySet:
        """The action itself or all below it: `tokens` finds `tokens.grant`."""
        return self.filter(models.Q(action=name) | models.Q(action__startswith=f"{name}."))

    def between(self, since: datetime | None, until: datetime | None) -> AuditEventQuerySet:
        """Half-open: since <= at < until."""
        found = self
        if since is not None:
            found = found.filter(at__gte=since)
        if until is not None:
            found = found.filter(at__lt=until)
        return found


class AuditEvent(AppendOnlyModel):
    """One deed. A deed on many rows is one event that its rows point to, with their number in `count`."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    at = models.DateTimeField(_("when"), default=timezone.now)
    action = models.CharField(_("what"), max_length=100, help_text=_("Dotted name of the deed, such as tokens.grant."))
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        verbose_name=_("who"),
    )
    actor_label = models.CharField(_("name of who"), max_length=255, blank=True)
    target_type = models.CharField(_("kind of row"), max_length=100, blank=True)
    target_id = models.CharField(_("row"), max_length=64, blank=True)
    target_label = models.CharField(_("name of the row"), max_length=255, blank=True)
    reason = models.TextField(_("why"), blank=True)
    changes = models.JSONField(
        _("from and to"), default=dict, blank=True, help_text=_("For each field the value before and the value after.")
    )
    count = models.PositiveBigIntegerField(_("rows"), default=1)

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        verbose_name = _("audit event")
        verbose_name_plural = _("audit events")
        permissions = [("export_auditevent", _("Can export audit events"))]
        indexes = [
            models.Index(fields=["at"], name="tp_audit_at"),
            models.Index(fields=["action", "at"], name="tp_audit_action"),
            models.Index(fields=["actor", "at"], name="tp_audit_actor"),
            models.Index(fields=["target_type", "target_id", "at"], name="tp_audit_target"),
        ]

    def __str__(self) -> str:
        return f"{self.action} · {self.target_label or self.target_id}"

    def diff(self) -> list[tuple[str, Any, Any]]:
        """(field, before, after) for each changed field."""
        return [(name, *pair) for name, pair in self.changes.items()]
