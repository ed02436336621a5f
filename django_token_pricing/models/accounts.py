"""Who has tokens: accounts of users and pools, and the members of pools. An account's row is what verbs lock first."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from django_token_pricing.models.base import history


class TokenPool(models.Model):
    """Tokens that several users share. The pool has an account of its own; members draw when their lots run out."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    name = models.CharField(_("name"), max_length=150, unique=True)
    is_active = models.BooleanField(
        _("active"), default=True, help_text=_("A pool that is not active gives nothing to its members.")
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    history = history(_("history of pools"))

    class Meta:
        verbose_name = _("token pool")
        verbose_name_plural = _("token pools")
        permissions = [("manage_members", _("Can add and remove members and set their caps"))]

    def __str__(self) -> str:
        return self.name


class PoolMember(models.Model):
    """A user's place in a pool; a user is in one pool at most."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    pool = models.ForeignKey(
        TokenPool, on_delete=models.CASCADE, related_name="members", db_index=False, verbose_name=_("pool")
    )
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="token_pool_membership",
        verbose_name=_("user"),
    )
    monthly_cap = models.PositiveBigIntegerField(
        _("monthly cap"),
        null=True,
        blank=True,
        help_text=_("Tokens a calendar month in the site's zone, refunds deducted. Empty means no cap."),
    )
    joined_at = models.DateTimeField(_("joined"), auto_now_add=True)

    history = history(_("history of members"))

    class Meta:
        verbose_name = _("pool member")
        verbose_name_plural = _("pool members")
        indexes = [models.Index(fields=["pool", "id"], name="tp_member_pool")]

    def __str__(self) -> str:
        return f"{self.user_id} · {self.pool_id}"


class TokenAccount(models.Model):
    """The account of a user or of a pool: the row to lock. An account whose owner was deleted is closed."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="token_account",
        verbose_name=_("user"),
    )
    pool = models.OneToOneField(
        TokenPool, on_delete=models.PROTECT, null=True, blank=True, related_name="account", verbose_name=_("pool")
    )
    tier = models.CharField(
        _("tier"), max_length=64, blank=True, help_text=_("From the user's subscription; stamped on each use.")
    )
    balance = models.BigIntegerField(
        _("balance"),
        default=0,
        help_text=_("Sum of what is left of all lots, lapsed ones that are not booked included."),
    )
    booked_at = models.DateTimeField(_("last booking"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("token account")
        verbose_name_plural = _("token accounts")
        constraints = [
            models.CheckConstraint(condition=Q(balance__gte=0), name="tp_account_balance"),
            models.CheckConstraint(condition=Q(user__isnull=True) | Q(pool__isnull=True), name="tp_account_owner"),
        ]
        permissions = [
            ("view_costs", _("Can see what usage costs")),
            ("grant_tokens", _("Can grant tokens")),
            ("subtract_tokens", _("Can subtract tokens")),
            ("set_balance", _("Can set what is available")),
            ("expire_tokens", _("Can let tokens of many accounts expire")),
            ("change_lots", _("Can void lots and change their dates")),
            ("release_holds", _("Can release holds")),
            ("refund_usage", _("Can refund usage")),
            ("boost_tokens", _("Can give emergency boosts")),
            ("export_tokenaccount", _("Can export token accounts")),
        ]

    def __str__(self) -> str:
        return str(_("Account %(number)s") % {"number": self.pk})

    @property
    def is_closed(self) -> bool:
        return self.user_id is None and self.pool_id is None


class PoolDraw(models.Model):
    """Net tokens that a member drew from a pool in a calendar month of the site's zone."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    pool = models.ForeignKey(
        TokenAccount, on_delete=models.PROTECT, related_name="draws", db_index=False, verbose_name=_("pool account")
    )
    member = models.ForeignKey(TokenAccount, on_delete=models.PROTECT, related_name="+", verbose_name=_("member"))
    month = models.DateField(_("month"), help_text=_("Its first day."))
    drawn = models.BigIntegerField(_("drawn"), default=0)

    class Meta:
        verbose_name = _("pool draw")
        verbose_name_plural = _("pool draws")
        constraints = [
            models.UniqueConstraint(fields=["pool", "member", "month"], name="tp_pooldraw_month"),
            models.CheckConstraint(condition=Q(drawn__gte=0), name="tp_pooldraw_drawn"),
        ]

    def __str__(self) -> str:
        return f"{self.month} · {self.drawn}"
