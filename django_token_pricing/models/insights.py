"""Forecasts, and what was found to be odd."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from django_token_pricing.choices import AnomalyKind, AnomalyScope, AnomalyState, ForecastMetric, ForecastScope
from django_token_pricing.models.accounts import TokenAccount
from django_token_pricing.models.base import history


class Forecast(models.Model):
    """What is to come of a measure, as it was computed at a moment, with the error that the method had in the past."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    scope = models.CharField(_("of"), max_length=5, choices=ForecastScope.choices, default=ForecastScope.SITE)
    name = models.CharField(_("which"), max_length=200, blank=True)
    metric = models.CharField(_("measure"), max_length=6, choices=ForecastMetric.choices)
    method = models.CharField(_("method"), max_length=40)
    made_at = models.DateTimeField(_("made"))
    first_day = models.DateField(_("history from"))
    last_day = models.DateField(_("history until"), help_text=_("The last whole day that it knows of."))
    horizon = models.PositiveSmallIntegerField(_("days ahead"))
    points = models.JSONField(
        _("days to come"), default=list, help_text=_("[day, value, low, high] each; the interval is of 80%.")
    )
    backtest = models.JSONField(
        _("back-test"),
        default=dict,
        help_text=_("Errors of the method and of two naive ones over the same days, and what it would have said."),
    )
    is_better = models.BooleanField(_("beats the naive ones"), default=False)
    note = models.CharField(_("note"), max_length=200, blank=True)

    class Meta:
        verbose_name = _("forecast")
        verbose_name_plural = _("forecasts")
        indexes = [models.Index(fields=["scope", "name", "metric", "-made_at"], name="tp_forecast_newest")]

    def __str__(self) -> str:
        return f"{self.name or self.get_scope_display()} · {self.made_at}"


class AnomalyRule(models.Model):
    """What counts as odd, for whom, and how sure one must be."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    name = models.CharField(_("name"), max_length=100)
    kind = models.CharField(_("looks for"), max_length=12, choices=AnomalyKind.choices)
    scope = models.CharField(_("in"), max_length=7, choices=AnomalyScope.choices, default=AnomalyScope.SITE)
    sensitivity = models.PositiveSmallIntegerField(
        _("sensitivity"),
        default=5,
        validators=[MinValueValidator(1), MaxValueValidator(10)],
        help_text=_("From 1 (only what is beyond doubt) to 10 (all that looks odd)."),
    )
    least = models.BigIntegerField(
        _("least"),
        default=1000,
        validators=[MinValueValidator(0)],
        help_text=_("What is below this is never told: tokens, or uses where uses are counted."),
    )
    is_active = models.BooleanField(_("active"), default=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    history = history(_("history of anomaly rules"))

    class Meta:
        verbose_name = _("anomaly rule")
        verbose_name_plural = _("anomaly rules")

    def __str__(self) -> str:
        return self.name


class Anomaly(models.Model):
    """One alert: what was odd, with the numbers, and what people made of it."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    rule = models.ForeignKey(AnomalyRule, on_delete=models.PROTECT, related_name="anomalies", verbose_name=_("rule"))
    kind = models.CharField(_("what"), max_length=12, choices=AnomalyKind.choices)
    scope = models.CharField(_("in"), max_length=7, choices=AnomalyScope.choices)
    target = models.CharField(
        _("which"), max_length=200, blank=True, help_text=_("Tier, model or number of the account.")
    )
    account = models.ForeignKey(
        TokenAccount, on_delete=models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("account")
    )
    starts_at = models.DateTimeField(_("began"))
    ends_at = models.DateTimeField(_("last seen"))
    value = models.DecimalField(_("measured"), max_digits=30, decimal_places=4)
    expected = models.DecimalField(_("usual"), max_digits=30, decimal_places=4, null=True, blank=True)
    score = models.DecimalField(_("score"), max_digits=12, decimal_places=2, null=True, blank=True)
    facts = models.JSONField(_("numbers"), default=dict, blank=True)
    found_at = models.DateTimeField(_("found"))
    state = models.CharField(_("state"), max_length=12, choices=AnomalyState.choices, default=AnomalyState.OPEN)
    is_real = models.BooleanField(
        _("worth it"),
        null=True,
        blank=True,
        help_text=_("Whether it was right to tell; unset until somebody has said."),
    )
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("by"),
    )
    decided_at = models.DateTimeField(_("decided"), null=True, blank=True)
    muted_until = models.DateTimeField(_("muted until"), null=True, blank=True)
    note = models.CharField(_("note"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("anomaly")
        verbose_name_plural = _("anomalies")
        permissions = [("decide_anomaly", _("Can acknowledge, resolve and mute anomalies"))]
        constraints = [models.UniqueConstraint(fields=["rule", "target", "starts_at"], name="tp_anomaly_once")]
        indexes = [
            models.Index(fields=["state", "-starts_at"], name="tp_anomaly_state"),
            models.Index(fields=["-starts_at"], name="tp_anomaly_newest"),
        ]

    def __str__(self) -> str:
        return " · ".join(filter(None, (self.get_kind_display(), self.target)))


class TierAdvice(models.Model):
    """How much a month the accounts of a tier should be given, by what they used in the last whole months."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    tier = models.CharField(_("tier"), max_length=64, blank=True, unique=True)
    made_at = models.DateTimeField(_("made"))
    first_month = models.DateField(_("from"), help_text=_("The first day of the first of its months."))
    months = models.PositiveSmallIntegerField(_("months"))
    accounts = models.PositiveBigIntegerField(_("accounts"), help_text=_("Without pools and their members."))
    active = models.PositiveBigIntegerField(_("used anything"), default=0)
    given = models.PositiveBigIntegerField(_("were given tokens"), default=0)
    granted = models.DecimalField(
        _("given"), max_digits=30, decimal_places=0, default=0, help_text=_("To all of them, in the last 31 days.")
    )
    median = models.BigIntegerField(_("median"), null=True, help_text=_("Of the highest month of each active account."))
    most_use = models.BigIntegerField(_("90th percentile"), null=True, help_text=_("Of the same."))
    suggested = models.BigIntegerField(
        _("suggested"), null=True, help_text=_("The 90th percentile, rounded up. Empty: too few used anything.")
    )
    short = models.PositiveBigIntegerField(
        _("would have run dry"), default=0, help_text=_("Accounts whose highest month was above it.")
    )

    class Meta:
        verbose_name = _("suggested allocation of a tier")
        verbose_name_plural = _("suggested allocations of tiers")

    def __str__(self) -> str:
        return f"{self.tier} · {self.suggested}"
