"""Limits: rules that say how much an account may use in a window, and counters of what it has used."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from django_token_pricing.choices import (
    FailureMode,
    LimitAlignment,
    LimitCounting,
    LimitMetric,
    LimitMode,
    LimitScope,
    LimitWindow,
)
from django_token_pricing.models.accounts import TokenAccount, TokenPool
from django_token_pricing.models.base import history


class LimitRule(models.Model):
    """How much may be used, by whom, of what. Of the rules that fit a use, the most specific one of each window counts.

    User goes before pool before tier before default; then a rule for a model and a feature before one for a model, one
    for a feature, one for any.
    """

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    scope = models.CharField(_("for"), max_length=7, choices=LimitScope.choices, default=LimitScope.DEFAULT)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("user"),
    )
    pool = models.ForeignKey(
        TokenPool, on_delete=models.CASCADE, null=True, blank=True, related_name="+", verbose_name=_("pool")
    )
    tier = models.CharField(_("tier"), max_length=64, blank=True)
    target = models.CharField(
        max_length=100, editable=False, verbose_name=_("target"), help_text=_("Scope and whom, as they are looked up.")
    )
    model = models.CharField(_("model"), max_length=200, blank=True, help_text=_("Empty: any model."))
    feature = models.CharField(_("feature"), max_length=100, blank=True, help_text=_("Empty: any feature."))
    metric = models.CharField(_("of"), max_length=8, choices=LimitMetric.choices, default=LimitMetric.TOKENS)
    window = models.CharField(_("window"), max_length=10, choices=LimitWindow.choices, default=LimitWindow.DAY)
    alignment = models.CharField(
        _("begins"), max_length=8, choices=LimitAlignment.choices, default=LimitAlignment.CALENDAR
    )
    time_zone = models.CharField(
        _("time zone"), max_length=64, blank=True, help_text=_("Of calendar windows. Empty: that of the site.")
    )
    period = models.CharField(
        max_length=80, blank=True, editable=False, verbose_name=_("period"), help_text=_("Window, alignment and zone.")
    )
    limit = models.BigIntegerField(_("limit"), validators=[MinValueValidator(0)])
    mode = models.CharField(_("at the limit"), max_length=8, choices=LimitMode.choices, default=LimitMode.HARD)
    grace = models.BigIntegerField(_("grace"), default=0, validators=[MinValueValidator(0)])
    counting = models.CharField(_("counted"), max_length=6, choices=LimitCounting.choices, default=LimitCounting.LEDGER)
    on_failure = models.CharField(
        _("without the cache"), max_length=6, choices=FailureMode.choices, default=FailureMode.OPEN
    )
    starts_at = models.DateTimeField(_("from"), null=True, blank=True)
    ends_at = models.DateTimeField(_("until"), null=True, blank=True, help_text=_("It ends by itself then."))
    slot = models.UUIDField(
        null=True,
        unique=True,
        editable=False,
        verbose_name=_("slot"),
        help_text=_("Target, model, feature, metric and window: one rule each. Empty once it is retired."),
    )
    retired_at = models.DateTimeField(_("retired"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    history = history(_("history of limits"))

    class Meta:
        verbose_name = _("limit")
        verbose_name_plural = _("limits")
        permissions = [("replay_limitrule", _("Can try limits out on past usage"))]
        constraints = [
            models.CheckConstraint(condition=Q(limit__gte=0), name="tp_limit_limit"),
            models.CheckConstraint(
                condition=Q(mode="grace", grace__gt=0) | (~Q(mode="grace") & Q(grace=0)), name="tp_limit_grace"
            ),
            models.CheckConstraint(
                # Where constraints cannot wait for the end of a transaction, deleting a user or a pool empties the
                # field before the rule goes as well.
                condition=Q(scope="user", pool__isnull=True, tier="")
                | Q(scope="pool", user__isnull=True, tier="")
                | (Q(scope="tier", user__isnull=True, pool__isnull=True) & ~Q(tier=""))
                | Q(scope="default", user__isnull=True, pool__isnull=True, tier=""),
                name="tp_limit_scope",
            ),
            models.CheckConstraint(
                condition=Q(ends_at__isnull=True) | Q(starts_at__isnull=True) | Q(ends_at__gt=models.F("starts_at")),
                name="tp_limit_period",
            ),
            models.CheckConstraint(
                condition=Q(slot__isnull=True, retired_at__isnull=False)
                | Q(slot__isnull=False, retired_at__isnull=True),
                name="tp_limit_retired",
            ),
            models.CheckConstraint(condition=~Q(metric="requests", window="request"), name="tp_limit_metric"),
        ]
        indexes = [models.Index(fields=["target", "retired_at"], name="tp_limit_target")]

    def __str__(self) -> str:
        return f"{self.get_scope_display()} · {self.get_metric_display()} · {self.get_window_display()}"


class LimitCounter(models.Model):
    """What an account has used in the latest window of a period: the sum of its usage log, kept ready.

    Net of refunds, uses that were only recorded left out. That of a pool counts all that its members used.
    """

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    account = models.ForeignKey(
        TokenAccount, on_delete=models.PROTECT, related_name="counters", db_index=False, verbose_name=_("account")
    )
    period = models.CharField(_("period"), max_length=80)
    starts_at = models.DateTimeField(_("from"))
    ends_at = models.DateTimeField(_("until"), null=True, blank=True)
    tokens = models.BigIntegerField(_("tokens"), default=0)
    requests = models.BigIntegerField(_("requests"), default=0)
    reached = models.ForeignKey(
        LimitRule,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("limit that was reached"),
    )
    reached_at = models.DateTimeField(_("reached"), null=True, blank=True)

    class Meta:
        verbose_name = _("counter of a limit")
        verbose_name_plural = _("counters of limits")
        constraints = [
            models.UniqueConstraint(fields=["account", "period"], name="tp_counter_period"),
            models.CheckConstraint(condition=Q(tokens__gte=0) & Q(requests__gte=0), name="tp_counter_used"),
        ]
        indexes = [
            models.Index(fields=["reached_at"], name="tp_counter_reached", condition=Q(reached_at__isnull=False))
        ]

    def __str__(self) -> str:
        return f"{self.account_id} · {self.period}"


class LimitOverage(models.Model):
    """What went beyond a limit that lets pass, by window."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    account = models.ForeignKey(
        TokenAccount, on_delete=models.PROTECT, related_name="overages", db_index=False, verbose_name=_("account")
    )
    rule = models.ForeignKey(LimitRule, on_delete=models.CASCADE, related_name="overages", verbose_name=_("limit"))
    starts_at = models.DateTimeField(_("window"))
    amount = models.BigIntegerField(_("beyond the limit"), help_text=_("In the limit's metric."))
    uses = models.BigIntegerField(_("uses"), default=1)
    last_at = models.DateTimeField(_("last"))

    class Meta:
        verbose_name = _("overage")
        verbose_name_plural = _("overages")
        constraints = [
            models.UniqueConstraint(fields=["account", "rule", "starts_at"], name="tp_overage_window"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="tp_overage_amount"),
        ]

    def __str__(self) -> str:
        return f"{self.account_id} · {self.amount}"
