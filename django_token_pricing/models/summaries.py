"""What lists sort and filter by: figures of each account that a job refreshes, so that no hot column has an index."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.db.models.expressions import Combinable, OrderBy
from django.db.models.lookups import IsNull
from django.utils.translation import gettext_lazy as _

from django_token_pricing.choices import AccountState
from django_token_pricing.models.accounts import TokenAccount

# What lists are filtered by may stand together in their order, at its end as well as at its beginning, so each has
# indexes of its own. Few accounts are in them: most have enough, and are used.
_SCARCE = Q(state__in=[AccountState.EMPTY.value, AccountState.LOW.value])
_UNUSED = Q(last_used_at__isnull=True)
_ALIVE = Q(share_left__isnull=False)


def late_first(field: str, *, account: str = "account") -> list[Combinable | OrderBy]:
    """The latest moments first, accounts without one last: PostgreSQL would read the other index with these first."""
    return [IsNull(F(field), True).asc(), F(field).desc(), F(account).desc()]


class AccountSummary(models.Model):
    """An account as it was at the last refresh; the period is the calendar month in the site's zone."""

    account = models.OneToOneField(
        TokenAccount, on_delete=models.CASCADE, primary_key=True, related_name="summary", verbose_name=_("account")
    )
    tier = models.CharField(_("tier"), max_length=64, blank=True)
    state = models.CharField(_("state"), max_length=5, choices=AccountState.choices)
    available = models.BigIntegerField(_("available"))
    granted = models.DecimalField(_("granted this month"), max_digits=30, decimal_places=0)
    # For candidates of warnings.
    share_left = models.PositiveSmallIntegerField(
        _("share left in per cent"),
        null=True,
        help_text=_(
            "Of what was granted this month or, if that is more, of what live lots were granted with; rounded down."
            " Empty where there is nothing of which anything could be left."
        ),
    )
    used = models.DecimalField(
        _("used this month"), max_digits=30, decimal_places=0, help_text=_("Of a pool: what its members drew.")
    )
    next_expiry = models.DateTimeField(_("next expiry"), null=True, blank=True)
    last_used_at = models.DateTimeField(_("last use"), null=True, blank=True)

    class Meta:
        verbose_name = _("summary of an account")
        verbose_name_plural = _("summaries of accounts")
        indexes = [
            # In each order one, with the tier at its end: a list of one tier skips the others without reading rows.
            models.Index(fields=["available", "account", "tier"], name="tp_summary_available"),
            models.Index(fields=["granted", "account", "tier"], name="tp_summary_granted"),
            models.Index(fields=["used", "account", "tier"], name="tp_summary_used"),
            models.Index(fields=["next_expiry", "account", "tier"], name="tp_summary_expiry"),
            models.Index(fields=["last_used_at", "account", "tier"], name="tp_summary_last_used"),
            models.Index(*late_first("next_expiry"), F("tier"), name="tp_summary_late_expiry"),
            models.Index(*late_first("last_used_at"), F("tier"), name="tp_summary_late_used"),
            models.Index(fields=["state", "account"], name="tp_summary_state"),
            models.Index(fields=["tier", "account"], name="tp_summary_tier"),
            models.Index(fields=["state", "available", "account"], condition=_SCARCE, name="tp_scarce_available"),
            models.Index(fields=["state", "granted", "account"], condition=_SCARCE, name="tp_scarce_granted"),
            models.Index(fields=["state", "used", "account"], condition=_SCARCE, name="tp_scarce_used"),
            models.Index(fields=["state", "next_expiry", "account"], condition=_SCARCE, name="tp_scarce_expiry"),
            models.Index(fields=["state", "last_used_at", "account"], condition=_SCARCE, name="tp_scarce_last_used"),
            models.Index("state", *late_first("next_expiry"), condition=_SCARCE, name="tp_scarce_late_expiry"),
            models.Index("state", *late_first("last_used_at"), condition=_SCARCE, name="tp_scarce_late_used"),
            models.Index(fields=["available", "account"], condition=_UNUSED, name="tp_unused_available"),
            models.Index(fields=["granted", "account"], condition=_UNUSED, name="tp_unused_granted"),
            models.Index(fields=["used", "account"], condition=_UNUSED, name="tp_unused_used"),
            models.Index(fields=["next_expiry", "account"], condition=_UNUSED, name="tp_unused_expiry"),
            models.Index(*late_first("next_expiry"), condition=_UNUSED, name="tp_unused_late_expiry"),
            models.Index(fields=["account"], condition=_UNUSED, name="tp_unused"),
            models.Index(fields=["share_left", "account", "tier"], name="tp_summary_share"),
            models.Index(fields=["available", "account", "tier"], condition=_ALIVE, name="tp_summary_alive"),
        ]

    def __str__(self) -> str:
        return str(self.account_id)


class SummaryRefresh(models.Model):
    """One refresh of all summaries: when it began, and what it found. The newest finished one dates the lists."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    started_at = models.DateTimeField(_("started"))
    seen_at = models.DateTimeField(_("last sign of life"))
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    accounts = models.PositiveBigIntegerField(_("accounts"), default=0)
    tiers = models.JSONField(_("tiers"), default=list, blank=True)
    totals = models.JSONField(
        _("totals"),
        default=dict,
        blank=True,
        help_text=_("By tier: accounts, available, granted, and how many accounts and tokens expire in 7 days."),
    )

    class Meta:
        verbose_name = _("refresh of summaries")
        verbose_name_plural = _("refreshes of summaries")
        indexes = [models.Index(fields=["finished_at"], name="tp_refresh_finished")]

    def __str__(self) -> str:
        return str(self.started_at)
