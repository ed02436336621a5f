"""Northwind's own subscriptions and payments, in Northwind's own words. `token_pricing.py` translates them."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Subscription(models.Model):
    """What a customer is on. There is no table of plans: a level says it all, see `levels.py`."""

    class Level(models.TextChoices):
        FREE = "free", _("Free")
        STARTER = "starter", _("Starter")
        TEAM = "team", _("Team")
        BUSINESS = "business", _("Business")

    class State(models.TextChoices):
        TRIAL = "trial", _("Trying")
        RUNNING = "running", _("Running")
        OVERDUE = "overdue", _("Overdue")
        FROZEN = "frozen", _("Frozen")
        STOPPED = "stopped", _("Stopped")
        RUN_OUT = "run_out", _("Run out")

    customer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="subscriptions", verbose_name=_("customer")
    )
    level = models.CharField(_("level"), max_length=16, choices=Level.choices)
    state = models.CharField(_("state"), max_length=16, choices=State.choices)
    seats = models.PositiveSmallIntegerField(_("seats"), default=1)
    signed_up_at = models.DateTimeField(_("signed up"), default=timezone.now)
    trial_until = models.DateTimeField(_("trial until"), null=True, blank=True)
    current_from = models.DateTimeField(_("current period from"))
    current_to = models.DateTimeField(_("current period to"))
    cancels_on = models.DateField(_("cancels on"), null=True, blank=True)
    currency_code = models.CharField(_("currency"), max_length=3, default="EUR")
    country = models.CharField(_("country"), max_length=2, blank=True)
    tz = models.CharField(_("time zone"), max_length=64, blank=True)
    changed_at = models.DateTimeField(_("changed"), auto_now=True, db_index=True)

    class Meta:
        verbose_name = _("subscription")
        verbose_name_plural = _("subscriptions")
        constraints = [
            models.CheckConstraint(condition=Q(current_to__gt=F("current_from")), name="billing_subscription_period"),
            models.CheckConstraint(condition=Q(seats__gt=0), name="billing_subscription_seats"),
        ]

    def __str__(self) -> str:
        return f"{self.get_level_display()} · {self.get_state_display()}"


class Payment(models.Model):
    """Money that a customer paid or owes, in cents. Northwind sells in currencies with cents only."""

    class State(models.TextChoices):
        WAITING = "waiting", _("Waiting")
        PAID = "paid", _("Paid")
        BOUNCED = "bounced", _("Bounced")
        CHARGED_BACK = "charged_back", _("Charged back")

    payer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="payments", verbose_name=_("payer")
    )
    subscription = models.ForeignKey(
        Subscription,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="payments",
        verbose_name=_("subscription"),
    )
    purpose = models.CharField(_("for"), max_length=150)
    total_cents = models.PositiveBigIntegerField(_("total in cents"))
    refunded_cents = models.PositiveBigIntegerField(_("refunded in cents"), default=0)
    currency_code = models.CharField(_("currency"), max_length=3, default="EUR")
    state = models.CharField(_("state"), max_length=16, choices=State.choices)
    due_at = models.DateTimeField(_("due"), default=timezone.now)
    settled_at = models.DateTimeField(_("settled"), null=True, blank=True)
    changed_at = models.DateTimeField(_("changed"), auto_now=True, db_index=True)

    class Meta:
        verbose_name = _("payment")
        verbose_name_plural = _("payments")
        constraints = [
            models.CheckConstraint(
                condition=Q(refunded_cents__lte=F("total_cents")), name="billing_payment_refunded_at_most_paid"
            ),
        ]

    def __str__(self) -> str:
        return self.purpose
