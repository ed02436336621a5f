"""Warnings: rules for when to warn whom, what has fired, and what people were told."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from django_token_pricing.choices import DeliveryStatus, NotificationKind, WarningKind
from django_token_pricing.models.accounts import TokenAccount
from django_token_pricing.models.base import history


class WarningRule(models.Model):
    """When to warn, and whom. It fires once a period for an account, and is armed again by a top-up."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    kind = models.CharField(_("when"), max_length=11, choices=WarningKind.choices)
    percent = models.PositiveSmallIntegerField(
        _("share in per cent"),
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text=_("Of what was granted this month that is left; of a limit, that is used."),
    )
    tokens = models.BigIntegerField(_("tokens left"), null=True, blank=True, validators=[MinValueValidator(0)])
    days = models.PositiveSmallIntegerField(
        _("days ahead"), null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(366)]
    )
    tier = models.CharField(_("tier"), max_length=64, blank=True, help_text=_("Empty: all tiers."))
    tells_user = models.BooleanField(_("tell the user"), default=True)
    tells_admins = models.BooleanField(_("tell the operators"), default=False)
    is_active = models.BooleanField(_("active"), default=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    history = history(_("history of warnings"))

    class Meta:
        verbose_name = _("warning")
        verbose_name_plural = _("warnings")
        permissions = [("receive_warnings", _("Is told of warnings that concern operators"))]
        constraints = [
            models.CheckConstraint(
                condition=Q(kind="low_percent", percent__isnull=False, tokens__isnull=True, days__isnull=True)
                | Q(kind="low_tokens", percent__isnull=True, tokens__isnull=False, days__isnull=True)
                | Q(kind="expiring", percent__isnull=True, days__isnull=False)
                | Q(kind="expired", percent__isnull=True, days__isnull=True)
                | Q(kind="limit", percent__isnull=False, percent__gte=1, tokens__isnull=True, days__isnull=True),
                name="tp_warning_threshold",
            ),
            models.CheckConstraint(condition=Q(percent__isnull=True) | Q(percent__lte=100), name="tp_warning_percent"),
        ]

    def __str__(self) -> str:
        return str(self.get_kind_display())


class WarningState(models.Model):
    """That a warning has fired for an account in a period. Nothing else decides whether it fires: it is there once."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    rule = models.ForeignKey(
        WarningRule, on_delete=models.CASCADE, related_name="states", db_index=False, verbose_name=_("warning")
    )
    account = models.ForeignKey(TokenAccount, on_delete=models.CASCADE, related_name="+", verbose_name=_("account"))
    period = models.CharField(
        _("period"), max_length=40, help_text=_("The month, the day on which tokens end, or the number of the limit.")
    )
    fired_at = models.DateTimeField(_("fired"))
    ends_at = models.DateTimeField(
        _("period ends"), null=True, blank=True, help_text=_("After that the row is of no use and is deleted.")
    )
    granted = models.DecimalField(
        _("granted this month"),
        max_digits=30,
        decimal_places=0,
        default=0,
        help_text=_("When it was looked at last. What is granted after that may arm it again."),
    )

    class Meta:
        verbose_name = _("state of a warning")
        verbose_name_plural = _("states of warnings")
        constraints = [models.UniqueConstraint(fields=["rule", "account", "period"], name="tp_warningstate_once")]
        indexes = [models.Index(fields=["ends_at"], name="tp_warningstate_over")]

    def __str__(self) -> str:
        return f"{self.rule_id} · {self.account_id} · {self.period}"


class WarningTally(models.Model):
    """How often a warning has fired in a calendar month of the site's zone, so that nobody has to count."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    rule = models.ForeignKey(
        WarningRule, on_delete=models.CASCADE, related_name="tallies", db_index=False, verbose_name=_("warning")
    )
    month = models.DateField(_("month"), help_text=_("Its first day."))
    fired = models.PositiveBigIntegerField(_("fired"), default=0)

    class Meta:
        verbose_name = _("tally of a warning")
        verbose_name_plural = _("tallies of warnings")
        constraints = [models.UniqueConstraint(fields=["rule", "month"], name="tp_warningtally_month")]

    def __str__(self) -> str:
        return f"{self.rule_id} · {self.month} · {self.fired}"


class Notification(models.Model):
    """What a person was told, in the inbox and, where that is wanted, by mail. `facts` make the words."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="token_notifications",
        db_index=False,
        verbose_name=_("for"),
    )
    account = models.ForeignKey(
        TokenAccount,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        verbose_name=_("account"),
    )
    rule = models.ForeignKey(
        WarningRule,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        verbose_name=_("warning"),
    )
    kind = models.CharField(_("kind"), max_length=40, choices=NotificationKind.choices)
    facts = models.JSONField(_("facts"), default=dict, blank=True)
    created_at = models.DateTimeField(_("when"))
    is_shown = models.BooleanField(_("in the inbox"), default=True)
    read_at = models.DateTimeField(_("read"), null=True, blank=True)
    mail = models.CharField(_("mail"), max_length=7, choices=DeliveryStatus.choices, default=DeliveryStatus.NONE)
    mail_at = models.DateTimeField(_("mail due or sent"), null=True, blank=True)
    tries = models.PositiveSmallIntegerField(_("tries"), default=0)
    problem = models.TextField(_("problem"), blank=True)

    class Meta:
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")
        permissions = [("resend_notification", _("Can have mails that failed sent again"))]
        indexes = [
            models.Index(fields=["user", "id"], name="tp_notification_user"),
            models.Index(fields=["account", "id"], name="tp_notification_account"),
            models.Index(fields=["mail", "mail_at"], name="tp_notification_mail"),
            models.Index(fields=["kind", "id"], name="tp_notification_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} · {self.user_id}"


class NotificationPreference(models.Model):
    """What a person wants to hear of, and how. Without a row: both ways."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="token_notification_preferences",
        db_index=False,
        verbose_name=_("user"),
    )
    kind = models.CharField(_("kind"), max_length=40, choices=NotificationKind.choices)
    by_mail = models.BooleanField(_("by mail"), default=True)
    in_app = models.BooleanField(_("in the inbox"), default=True)

    class Meta:
        verbose_name = _("preference for notifications")
        verbose_name_plural = _("preferences for notifications")
        constraints = [models.UniqueConstraint(fields=["user", "kind"], name="tp_preference_once")]

    def __str__(self) -> str:
        return f"{self.user_id} · {self.kind}"
