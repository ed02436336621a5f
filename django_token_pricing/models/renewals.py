"""Renewal: what a plan gives each period, where each subscription stands, and the periods that were decided."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from django_token_pricing.choices import (
    GrantLasts,
    MissedPeriods,
    OnCancel,
    OnDowngrade,
    OnPastDue,
    OnUpgrade,
    PeriodOutcome,
    PeriodUnit,
    RenewalAnchor,
    RenewalState,
    Rollover,
)
from django_token_pricing.models.base import history
from django_token_pricing.models.payments import SubscriptionMirror
from django_token_pricing.models.tokens import DEFAULT_PRIORITY, TokenAllocation


class RenewalPolicy(models.Model):
    """What a tier (or, where a subscription names none, a plan code) gives each period."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    code = models.CharField(
        _("tier or plan code"), max_length=64, unique=True, help_text=_("As the host's subscriptions name it.")
    )
    is_active = models.BooleanField(
        _("active"), default=True, help_text=_("Subscriptions of what is not active are not renewed.")
    )
    tokens = models.BigIntegerField(_("tokens a period"), validators=[MinValueValidator(1)])
    is_per_seat = models.BooleanField(_("for each seat"), default=False, help_text=_("Times the quantity."))
    priority = models.SmallIntegerField(
        _("priority"), default=DEFAULT_PRIORITY, help_text=_("A smaller number is spent first.")
    )
    unit = models.CharField(_("period"), max_length=5, choices=PeriodUnit.choices, default=PeriodUnit.MONTH)
    count = models.PositiveSmallIntegerField(
        _("number of these"), default=1, validators=[MinValueValidator(1), MaxValueValidator(3_660)]
    )
    anchor = models.CharField(
        _("counted from"), max_length=12, choices=RenewalAnchor.choices, default=RenewalAnchor.SUBSCRIPTION
    )
    missed = models.CharField(
        _("missed periods"), max_length=8, choices=MissedPeriods.choices, default=MissedPeriods.CATCH_UP
    )
    lasts = models.CharField(_("tokens last"), max_length=6, choices=GrantLasts.choices, default=GrantLasts.PERIOD)
    lasts_days = models.PositiveIntegerField(
        _("days"), null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(36_500)]
    )
    rollover = models.CharField(_("carried over"), max_length=7, choices=Rollover.choices, default=Rollover.NONE)
    rollover_percent = models.PositiveSmallIntegerField(
        _("share in per cent"), null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(100)]
    )
    rollover_cap = models.BigIntegerField(
        _("at most tokens"), null=True, blank=True, validators=[MinValueValidator(1)], help_text=_("Empty: no cap.")
    )
    rollover_days = models.PositiveIntegerField(
        _("carried tokens last days"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(36_500)],
        help_text=_("Empty: until the new period ends."),
    )
    rollover_periods = models.PositiveSmallIntegerField(
        _("for at most periods"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("How often the same tokens may be carried over. Empty: any number."),
    )
    on_upgrade = models.CharField(
        _("on an upgrade"), max_length=10, choices=OnUpgrade.choices, default=OnUpgrade.PRORATED
    )
    on_downgrade = models.CharField(
        _("on a downgrade"), max_length=8, choices=OnDowngrade.choices, default=OnDowngrade.KEEP
    )
    on_cancel = models.CharField(_("when cancelled"), max_length=6, choices=OnCancel.choices, default=OnCancel.KEEP)
    on_past_due = models.CharField(_("when past due"), max_length=5, choices=OnPastDue.choices, default=OnPastDue.WAIT)
    starts_at = models.DateTimeField(
        _("for periods from"), help_text=_("Periods that began before are not granted, however many were missed.")
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    history = history(_("history of renewal policies"))

    class Meta:
        verbose_name = _("renewal policy")
        verbose_name_plural = _("renewal policies")
        ordering = ["code"]
        permissions = [("renew_subscriptions", _("Can renew what is due"))]
        constraints = [
            models.CheckConstraint(condition=Q(tokens__gt=0), name="tp_policy_tokens"),
            models.CheckConstraint(condition=Q(count__gt=0), name="tp_policy_count"),
            models.CheckConstraint(
                condition=Q(lasts="days", lasts_days__gt=0) | (~Q(lasts="days") & Q(lasts_days__isnull=True)),
                name="tp_policy_lasts",
            ),
            models.CheckConstraint(
                condition=Q(rollover="percent", rollover_percent__gt=0, rollover_percent__lte=100)
                | (~Q(rollover="percent") & Q(rollover_percent__isnull=True)),
                name="tp_policy_percent",
            ),
            models.CheckConstraint(
                condition=Q(rollover_cap__isnull=True) | (Q(rollover_cap__gt=0) & Q(rollover_cap__lte=F("tokens"))),
                name="tp_policy_cap",
            ),
            models.CheckConstraint(
                condition=Q(rollover_periods__isnull=True) | Q(rollover_periods__gt=0), name="tp_policy_periods"
            ),
        ]

    def __str__(self) -> str:
        return self.code


class Renewal(models.Model):
    """Where a subscription stands: the period it is in, and when something is due."""

    subscription = models.OneToOneField(
        SubscriptionMirror,
        on_delete=models.PROTECT,
        primary_key=True,
        related_name="renewal",
        verbose_name=_("subscription"),
    )
    policy = models.ForeignKey(
        RenewalPolicy,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="renewals",
        verbose_name=_("policy"),
        help_text=_("Empty: the subscription names none that there is."),
    )
    state = models.CharField(_("state"), max_length=7, choices=RenewalState.choices, default=RenewalState.ACTIVE)
    anchor_at = models.DateTimeField(_("counted from"), null=True, blank=True)
    host_anchor_at = models.DateTimeField(
        _("billing anchor"), null=True, blank=True, help_text=_("As the host last named one.")
    )
    time_zone = models.CharField(_("time zone"), max_length=64, blank=True)
    quantity = models.PositiveIntegerField(_("quantity"), default=1)
    number = models.IntegerField(_("period"), default=0, help_text=_("Counted from the anchor, from 0."))
    period_starts_at = models.DateTimeField(_("period starts"), null=True, blank=True)
    period_ends_at = models.DateTimeField(_("period ends"), null=True, blank=True)
    granted = models.BigIntegerField(
        _("worth of the period"),
        default=0,
        help_text=_("What the plan gives for the whole of it; 0 where the period was skipped."),
    )
    changes = models.PositiveIntegerField(
        _("changes"), default=0, help_text=_("How often plan or quantity changed within the period.")
    )
    due_at = models.DateTimeField(
        _("due"), null=True, blank=True, help_text=_("When the next period begins, or a failure is tried again.")
    )
    tries = models.PositiveSmallIntegerField(_("tries"), default=0)
    problem = models.TextField(_("problem"), blank=True)
    changed_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("renewal")
        verbose_name_plural = _("renewals")
        constraints = [
            models.CheckConstraint(
                condition=Q(period_ends_at__isnull=True) | Q(period_ends_at__gt=F("period_starts_at")),
                name="tp_renewal_period",
            ),
        ]
        indexes = [models.Index(fields=["due_at"], name="tp_renewal_due")]

    def __str__(self) -> str:
        return str(_("Renewal of subscription %(number)s") % {"number": self.subscription_id})


class RenewalLotQuerySet(models.QuerySet["RenewalLot"]):
    def awaited(self) -> RenewalLotQuerySet:
        """Lots that end with a period whose renewal is still to come, and will carry over what is left of them."""
        return self.filter(
            subscription__renewal__period_starts_at=F("period_starts_at"),
            subscription__renewal__period_ends_at=F("expires_at"),
            subscription__renewal__state__in=[RenewalState.ACTIVE, RenewalState.WAITING, RenewalState.FAILED],
            subscription__renewal__policy__is_active=True,
        ).exclude(subscription__renewal__policy__rollover=Rollover.NONE)


class RenewalLot(models.Model):
    """A lot that renewal made for a subscription: granted for a period, for a change in it, or carried over."""

    allocation = models.OneToOneField(
        TokenAllocation, on_delete=models.PROTECT, primary_key=True, related_name="+", verbose_name=_("lot")
    )
    subscription = models.ForeignKey(
        SubscriptionMirror,
        on_delete=models.PROTECT,
        related_name="lots",
        db_index=False,
        verbose_name=_("subscription"),
    )
    period_starts_at = models.DateTimeField(_("period starts"), help_text=_("Of the period to which it belongs."))
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True, help_text=_("As the lot has it."))
    times = models.PositiveSmallIntegerField(
        _("times carried over"), default=0, help_text=_("How often its tokens were carried over.")
    )

    objects = RenewalLotQuerySet.as_manager()

    class Meta:
        verbose_name = _("renewed lot")
        verbose_name_plural = _("renewed lots")
        indexes = [models.Index(fields=["subscription", "period_starts_at"], name="tp_renewallot_period")]

    def __str__(self) -> str:
        return f"{self.subscription_id} · {self.allocation_id}"


class RenewalPeriod(models.Model):
    """A period of a subscription that was decided: granted or skipped, once."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    subscription = models.ForeignKey(
        SubscriptionMirror,
        on_delete=models.PROTECT,
        related_name="periods",
        db_index=False,
        verbose_name=_("subscription"),
    )
    policy = models.ForeignKey(
        RenewalPolicy, on_delete=models.PROTECT, related_name="+", db_index=False, verbose_name=_("policy")
    )
    starts_at = models.DateTimeField(_("from"))
    ends_at = models.DateTimeField(_("until"))
    outcome = models.CharField(_("outcome"), max_length=7, choices=PeriodOutcome.choices)
    tokens = models.BigIntegerField(_("tokens"), default=0)
    carried = models.BigIntegerField(_("carried over"), default=0)
    decided_at = models.DateTimeField(_("decided"))

    class Meta:
        verbose_name = _("renewed period")
        verbose_name_plural = _("renewed periods")
        constraints = [
            models.UniqueConstraint(fields=["subscription", "starts_at"], name="tp_renewalperiod_once"),
            models.CheckConstraint(condition=Q(ends_at__gt=F("starts_at")), name="tp_renewalperiod_period"),
        ]

    def __str__(self) -> str:
        return f"{self.subscription_id} · {self.starts_at:%Y-%m-%d}"
