"""The host's subscriptions and payments as we know them: events as they came, and the mirror that is their fold.

Adapters only add events; a mirror's row is the newest event of its reference. Rules read the mirrors alone.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Case, F, Q, When
from django.utils.translation import gettext_lazy as _

from django_token_pricing.choices import PaymentStatus, SubscriptionStatus
from django_token_pricing.models.base import AppendOnlyModel

REF_LENGTH = 150
LIVE = (SubscriptionStatus.TRIALING, SubscriptionStatus.ACTIVE, SubscriptionStatus.PAST_DUE)


class HostEvent(AppendOnlyModel):
    """What the host told us of one subscription or payment at one moment, complete. Told twice, it is stored once."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    external_ref = models.CharField(_("reference"), max_length=REF_LENGTH)
    occurred_at = models.DateTimeField(_("happened"))
    digest = models.UUIDField(_("digest of the facts"))
    facts = models.JSONField(_("facts"), encoder=DjangoJSONEncoder)
    received_at = models.DateTimeField(_("received"), auto_now_add=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.external_ref} · {self.occurred_at:%Y-%m-%d %H:%M}"


class SubscriptionEvent(HostEvent):
    class Meta:
        verbose_name = _("subscription event")
        verbose_name_plural = _("subscription events")
        constraints = [
            models.UniqueConstraint(fields=["external_ref", "occurred_at", "digest"], name="tp_subscriptionevent_once")
        ]


class PaymentEvent(HostEvent):
    class Meta:
        verbose_name = _("payment event")
        verbose_name_plural = _("payment events")
        constraints = [
            models.UniqueConstraint(fields=["external_ref", "occurred_at", "digest"], name="tp_paymentevent_once")
        ]


class Mirror(models.Model):
    """A copy of a host's row. `gone_at` is set when a full resync no longer finds it."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    external_ref = models.CharField(_("reference"), max_length=REF_LENGTH, unique=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        verbose_name=_("user"),
    )
    currency = models.CharField(_("currency"), max_length=3, blank=True)
    occurred_at = models.DateTimeField(_("as of"))
    gone_at = models.DateTimeField(_("gone since"), null=True, blank=True)
    synced_at = models.DateTimeField(_("synced"))

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.external_ref


class SubscriptionMirrorQuerySet(models.QuerySet["SubscriptionMirror"]):
    def live(self) -> SubscriptionMirrorQuerySet:
        """Those that give their user something now."""
        return self.filter(status__in=LIVE, gone_at=None)

    def tiers(self) -> models.QuerySet[Any, Any]:
        """The names of the live tiers, the newest first; where one names no tier, its plan code."""
        name = Case(When(tier="", then="plan_code"), default="tier")
        newest = self.live().order_by(F("period_starts_at").desc(nulls_last=True), "-pk")
        return newest.annotate(name=name).values_list("name", flat=True)


class SubscriptionMirror(Mirror):
    """A subscription of the host. Tier or plan code say what it gives; the period is half-open."""

    plan_code = models.CharField(_("plan code"), max_length=64, blank=True)
    tier = models.CharField(_("tier"), max_length=64, blank=True)
    price_ref = models.CharField(_("price reference"), max_length=REF_LENGTH, blank=True)
    status = models.CharField(_("status"), max_length=10, choices=SubscriptionStatus.choices)
    period_starts_at = models.DateTimeField(_("period starts"), null=True, blank=True)
    period_ends_at = models.DateTimeField(_("period ends"), null=True, blank=True)
    anchor_at = models.DateTimeField(_("billing anchor"), null=True, blank=True)
    trial_ends_at = models.DateTimeField(_("trial ends"), null=True, blank=True)
    cancel_at = models.DateTimeField(_("cancels"), null=True, blank=True)
    region = models.CharField(_("region"), max_length=32, blank=True)
    time_zone = models.CharField(_("time zone"), max_length=64, blank=True)
    quantity = models.PositiveIntegerField(_("quantity"), default=1)

    objects = SubscriptionMirrorQuerySet.as_manager()

    class Meta:
        verbose_name = _("subscription")
        verbose_name_plural = _("subscriptions")
        constraints = [
            models.CheckConstraint(
                condition=Q(period_ends_at__isnull=True)
                | Q(period_starts_at__isnull=True)
                | Q(period_ends_at__gt=F("period_starts_at")),
                name="tp_subscription_period",
            )
        ]
        indexes = [
            models.Index(fields=["user", "status"], name="tp_subscription_user"),
            models.Index(fields=["status", "period_ends_at"], name="tp_subscription_due"),
        ]


class PaymentMirror(Mirror):
    """A payment of the host. Refunds are the part of `amount` given back so far."""

    subscription_ref = models.CharField(_("subscription reference"), max_length=REF_LENGTH, blank=True, db_index=True)
    status = models.CharField(_("status"), max_length=16, choices=PaymentStatus.choices)
    amount = models.DecimalField(_("amount"), max_digits=19, decimal_places=4)
    refunded_amount = models.DecimalField(_("refunded"), max_digits=19, decimal_places=4, default=0)
    paid_at = models.DateTimeField(_("paid"), null=True, blank=True)
    description = models.CharField(_("for"), max_length=255, blank=True)

    class Meta:
        verbose_name = _("payment")
        verbose_name_plural = _("payments")
        indexes = [
            models.Index(fields=["user", "paid_at"], name="tp_payment_user"),
            models.Index(fields=["paid_at"], name="tp_payment_paid"),
        ]


class SyncCursor(models.Model):
    """How far an adapter's events were read."""

    name = models.CharField(_("adapter"), max_length=20, primary_key=True)
    read_until = models.DateTimeField(_("read until"), null=True, blank=True)
    synced_at = models.DateTimeField(_("last run"), null=True, blank=True)
    full_at = models.DateTimeField(_("last full run"), null=True, blank=True)

    class Meta:
        verbose_name = _("sync state")
        verbose_name_plural = _("sync states")

    def __str__(self) -> str:
        return self.name
