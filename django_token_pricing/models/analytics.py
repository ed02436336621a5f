"""Roll-ups: what the dashboards read instead of the rows of usage and of the ledger, and how far they have come.

They are derived: `analytics.verify` compares them with the rows, `analytics.rebuild` makes them anew. Days and hours
are those of the reporting zone that `RollupState` names.
"""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_token_pricing.choices import ChartDimension, FoldKind, RevenueKind
from django_token_pricing.models.accounts import TokenAccount
from django_token_pricing.models.audit import AuditEvent
from django_token_pricing.models.jobs import Job


class UsageMeasures(models.Model):
    """What is summed of uses. A price has six decimals for a million tokens, so twelve make a cost exact."""

    requests = models.BigIntegerField(_("uses"), default=0)
    tokens = models.BigIntegerField(_("tokens"), default=0)
    input_tokens = models.BigIntegerField(_("input tokens"), default=0)
    output_tokens = models.BigIntegerField(_("output tokens"), default=0)
    cached_tokens = models.BigIntegerField(_("cached tokens"), default=0)
    cost = models.DecimalField(_("cost"), max_digits=30, decimal_places=12, default=0)
    unpriced = models.BigIntegerField(
        _("uses without a cost"),
        default=0,
        help_text=_("Of models that have no price. They are not free: it is unknown."),
    )

    class Meta:
        abstract = True


class UsageHour(UsageMeasures):
    """Uses of an hour of the reporting zone, by tier, model and feature."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    starts_at = models.DateTimeField(_("hour"))
    day = models.DateField(_("day"))
    hour = models.PositiveSmallIntegerField(_("hour of the day"))
    tier = models.CharField(_("tier"), max_length=64, blank=True)
    model = models.CharField(_("model"), max_length=200, blank=True)
    feature = models.CharField(_("feature"), max_length=100, blank=True)

    class Meta:
        verbose_name = _("usage of an hour")
        verbose_name_plural = _("usage by the hour")
        constraints = [
            models.UniqueConstraint(fields=["starts_at", "tier", "model", "feature"], name="tp_usagehour_once"),
        ]
        indexes = [models.Index(fields=["day", "hour"], name="tp_usagehour_day")]

    def __str__(self) -> str:
        return f"{self.starts_at} · {self.tokens}"


class UsageDay(UsageMeasures):
    """Uses of a day of the reporting zone, by tier, model and feature."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    day = models.DateField(_("day"))
    tier = models.CharField(_("tier"), max_length=64, blank=True)
    model = models.CharField(_("model"), max_length=200, blank=True)
    feature = models.CharField(_("feature"), max_length=100, blank=True)

    class Meta:
        verbose_name = _("usage of a day")
        verbose_name_plural = _("token analytics")
        permissions = [
            ("view_analytics", _("Can see token analytics")),
            ("export_analytics", _("Can export token analytics")),
        ]
        constraints = [models.UniqueConstraint(fields=["day", "tier", "model", "feature"], name="tp_usageday_once")]

    def __str__(self) -> str:
        return f"{self.day} · {self.tokens}"


class AccountMonth(UsageMeasures):
    """Uses of an account in a month of the reporting zone. Its days come from the rows of usage."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    month = models.DateField(_("month"), help_text=_("Its first day."))
    account = models.ForeignKey(
        TokenAccount, on_delete=models.PROTECT, related_name="months", db_index=False, verbose_name=_("account")
    )

    class Meta:
        verbose_name = _("usage of an account in a month")
        verbose_name_plural = _("usage of accounts by the month")
        constraints = [models.UniqueConstraint(fields=["account", "month"], name="tp_accountmonth_once")]
        indexes = [
            models.Index(fields=["month", "-tokens", "account"], name="tp_accountmonth_tokens"),
            models.Index(fields=["month", "-cost", "account"], name="tp_accountmonth_cost"),
        ]

    def __str__(self) -> str:
        return f"{self.month} · {self.tokens}"


class RevenueDay(models.Model):
    """What was paid for tokens, recognised on the day on which they were used or expired; a refund takes it back.

    Of a use the day is that of `used_at`, like its cost's; of a refund or an expiry that of the booking.
    """

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    day = models.DateField(_("day"))
    kind = models.CharField(_("recognised by"), max_length=7, choices=RevenueKind.choices)
    tier = models.CharField(_("tier"), max_length=64, blank=True)
    model = models.CharField(_("model"), max_length=200, blank=True)
    feature = models.CharField(_("feature"), max_length=100, blank=True)
    currency = models.CharField(_("currency"), max_length=3)
    amount = models.DecimalField(_("revenue"), max_digits=30, decimal_places=10, default=0)
    tokens = models.BigIntegerField(_("paid tokens"), default=0)

    class Meta:
        verbose_name = _("revenue of a day")
        verbose_name_plural = _("revenue by the day")
        constraints = [
            models.UniqueConstraint(
                fields=["day", "kind", "tier", "model", "feature", "currency"], name="tp_revenueday_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.day} · {self.amount} {self.currency}"


class AccountRevenue(models.Model):
    """Revenue recognised of an account in a month: of what it used itself, and of what expired of its own lots."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    month = models.DateField(_("month"), help_text=_("Its first day."))
    account = models.ForeignKey(
        TokenAccount, on_delete=models.PROTECT, related_name="+", db_index=False, verbose_name=_("account")
    )
    currency = models.CharField(_("currency"), max_length=3)
    amount = models.DecimalField(_("revenue"), max_digits=30, decimal_places=10, default=0)

    class Meta:
        verbose_name = _("revenue of an account in a month")
        verbose_name_plural = _("revenue of accounts by the month")
        constraints = [
            models.UniqueConstraint(fields=["account", "month", "currency"], name="tp_accountrevenue_once"),
        ]
        indexes = [models.Index(fields=["month", "account"], name="tp_accountrevenue_month")]

    def __str__(self) -> str:
        return f"{self.month} · {self.amount} {self.currency}"


class FlowDay(models.Model):
    """Movements of the ledger of a day, by what moved the tokens and where the lot came from. Summed up, a balance."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    day = models.DateField(_("day"))
    kind = models.CharField(_("entry"), max_length=12)
    source = models.CharField(_("source of the lot"), max_length=20)
    entries = models.BigIntegerField(_("entries"), default=0)
    tokens = models.BigIntegerField(_("tokens"), default=0)

    class Meta:
        verbose_name = _("movement of a day")
        verbose_name_plural = _("movements by the day")
        constraints = [models.UniqueConstraint(fields=["day", "kind", "source"], name="tp_flowday_once")]

    def __str__(self) -> str:
        return f"{self.day} · {self.kind} · {self.tokens:+d}"


class RollupState(models.Model):
    """How far the roll-ups have come: the one row that a fold, a rebuild and a check lock first.

    On PostgreSQL all rows inserted by transactions below `horizon` are in; elsewhere all that are not in `FoldQueue`.
    """

    id = models.SmallIntegerField(primary_key=True, default=1, verbose_name=_("number"))
    zone = models.CharField(_("reporting zone"), max_length=64)
    horizon = models.BigIntegerField(_("transaction reached"), default=0)
    folded_at = models.DateTimeField(_("reached"), null=True, blank=True)
    prices_changed_from = models.DateTimeField(
        _("prices changed from"),
        null=True,
        blank=True,
        help_text=_("Prices of uses from here on were changed afterwards; re-pricing brings the costs up to them."),
    )

    class Meta:
        verbose_name = _("state of the roll-ups")
        verbose_name_plural = _("state of the roll-ups")

    def __str__(self) -> str:
        return str(self.folded_at)


class FoldQueue(models.Model):
    """Rows that the roll-ups do not hold yet, on databases that have no transaction ids to tell by."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    kind = models.CharField(_("row of"), max_length=5, choices=FoldKind.choices)
    row = models.BigIntegerField(_("number of the row"))

    class Meta:
        verbose_name = _("row to be rolled up")
        verbose_name_plural = _("rows to be rolled up")
        indexes = [models.Index(fields=["kind", "row"], name="tp_foldqueue_row")]

    def __str__(self) -> str:
        return f"{self.kind} {self.row}"


class ChartSlot(models.Model):
    """The colour of a category, which it keeps on every page."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    dimension = models.CharField(_("dimension"), max_length=7, choices=ChartDimension.choices)
    name = models.CharField(_("name"), max_length=200, blank=True)
    slot = models.PositiveSmallIntegerField(_("colour"))

    class Meta:
        verbose_name = _("colour of a category")
        verbose_name_plural = _("colours of categories")
        constraints = [models.UniqueConstraint(fields=["dimension", "name"], name="tp_chartslot_once")]

    def __str__(self) -> str:
        return f"{self.name}: {self.slot}"


class AnalyticsExport(models.Model):
    """One export of analytics: who asked for what, when, with which filters. Bulky ones are written by a job."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    report = models.CharField(_("report"), max_length=20)
    format = models.CharField(_("format"), max_length=4)
    filters = models.JSONField(_("filters"), default=dict, blank=True)
    rows = models.BigIntegerField(_("rows"), null=True, blank=True)
    created_at = models.DateTimeField(_("asked"))
    event = models.ForeignKey(AuditEvent, on_delete=models.PROTECT, related_name="+", verbose_name=_("audit event"))
    job = models.ForeignKey(
        Job,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("job"),
    )

    class Meta:
        verbose_name = _("export of analytics")
        verbose_name_plural = _("exports of analytics")
        indexes = [models.Index(fields=["-created_at"], name="tp_analyticsexport_at")]

    def __str__(self) -> str:
        return f"{self.report} · {self.created_at}"
