"""What needs a second person: what is asked, by whom, and who decided."""

from __future__ import annotations

from uuid import uuid4

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from django_token_pricing.choices import ApprovalStatus
from django_token_pricing.models.audit import AuditEvent
from django_token_pricing.models.base import history


class Approval(models.Model):
    """A deed that waits for a second person. `params` are its exact terms; approving does exactly that."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    key = models.UUIDField(_("key"), default=uuid4, unique=True, help_text=_("A form sent twice asks once."))
    kind = models.CharField(_("what"), max_length=60)
    status = models.CharField(_("state"), max_length=10, choices=ApprovalStatus.choices, default=ApprovalStatus.WAITING)
    params = models.JSONField(_("terms"), default=dict)
    size = models.BigIntegerField(_("size"), default=0, help_text=_("What made it need a second person."))
    target_type = models.CharField(_("kind of row"), max_length=100, blank=True)
    target_id = models.CharField(_("row"), max_length=64, blank=True)
    target_label = models.CharField(_("name of the row"), max_length=255, blank=True)
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("asked by"),
    )
    asked_label = models.CharField(_("name of who asked"), max_length=255, blank=True)
    reason = models.TextField(_("why"))
    asked_at = models.DateTimeField(_("asked"), auto_now_add=True)
    expires_at = models.DateTimeField(_("expires"))
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("decided by"),
    )
    decided_label = models.CharField(_("name of who decided"), max_length=255, blank=True)
    decided_at = models.DateTimeField(_("decided"), null=True, blank=True)
    note = models.TextField(_("note"), blank=True)
    event = models.ForeignKey(
        AuditEvent, on_delete=models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("audit event")
    )

    class Meta:
        verbose_name = _("approval")
        verbose_name_plural = _("approvals")
        permissions = [("decide_approval", _("Can approve and refuse what others ask"))]
        constraints = [
            # A person who is gone is NULL in both, and NULL passes.
            models.CheckConstraint(
                condition=~Q(asked_by=F("decided_by")) | ~Q(status="approved"), name="tp_approval_two"
            ),
            models.CheckConstraint(
                condition=Q(status="waiting", decided_at__isnull=True)
                | (~Q(status="waiting") & Q(decided_at__isnull=False)),
                name="tp_approval_decided",
            ),
        ]
        indexes = [models.Index(fields=["status", "expires_at"], name="tp_approval_status")]

    def __str__(self) -> str:
        return str(_("Approval %(number)s") % {"number": self.pk})


class ApprovalRule(models.Model):
    """From which size on a kind of deed needs a second person, and how long a request waits."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    kind = models.CharField(_("what"), max_length=60, unique=True)
    above = models.BigIntegerField(
        _("above"),
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text=_("What is larger needs a second person. Empty: nothing does."),
    )
    lasts_hours = models.PositiveIntegerField(
        _("waits for hours"),
        default=72,
        validators=[MinValueValidator(1)],
        help_text=_("After that it has to be asked anew."),
    )

    history = history(_("history of rules for approval"))

    class Meta:
        verbose_name = _("rule for approval")
        verbose_name_plural = _("rules for approval")
        constraints = [
            models.CheckConstraint(condition=Q(above__gte=0), name="tp_approvalrule_above"),
            models.CheckConstraint(condition=Q(lasts_hours__gt=0), name="tp_approvalrule_lasts"),
        ]

    def __str__(self) -> str:
        return self.kind
