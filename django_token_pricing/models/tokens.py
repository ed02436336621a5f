"""The token ledger's tables: accounts and pools, lots, entries, holds, uses and keys.

The account's row is what every verb locks first. A lot (`TokenAllocation`) keeps what is left of it; the entries say
how it came to that, one signed row a movement, and never change.
"""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from django_token_pricing.choices import EntryKind, HoldStatus, Source, Verb
from django_token_pricing.models.audit import AuditEvent
from django_token_pricing.models.base import AppendOnlyModel, AppendOnlyQuerySet, TransactionId

DEFAULT_PRIORITY = 100
KEY_LENGTH = 200


class TokenPool(models.Model):
    """Tokens that several users share. The pool has an account of its own; members draw when their lots run out."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    name = models.CharField(_("name"), max_length=150, unique=True)
    is_active = models.BooleanField(
        _("active"), default=True, help_text=_("A pool that is not active gives nothing to its members.")
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("token pool")
        verbose_name_plural = _("token pools")

    def __str__(self) -> str:
        return self.name


class PoolMember(models.Model):
    """A user's place in a pool; a user is in one pool at most."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    pool = models.ForeignKey(TokenPool, on_delete=models.CASCADE, related_name="members", verbose_name=_("pool"))
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

    class Meta:
        verbose_name = _("pool member")
        verbose_name_plural = _("pool members")

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
        permissions = [("view_costs", _("Can see what usage costs"))]

    def __str__(self) -> str:
        return str(_("Account %(number)s") % {"number": self.pk})

    @property
    def is_closed(self) -> bool:
        return self.user_id is None and self.pool_id is None


class TokenAllocationQuerySet(models.QuerySet["TokenAllocation"]):
    def live(self, as_of: datetime) -> TokenAllocationQuerySet:
        """Started and not expired at that moment."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=as_of), starts_at__lte=as_of)

    def lapsed(self, as_of: datetime) -> TokenAllocationQuerySet:
        """Expired at that moment with tokens left that no entry has taken out yet."""
        return self.filter(is_open=True, expires_at__lte=as_of)

    def in_burn_order(self) -> TokenAllocationQuerySet:
        """The order in which lots pay: priority, then soonest expiry, then oldest."""
        return self.order_by("priority", F("expires_at").asc(nulls_last=True), "id")


class TokenAllocation(models.Model):
    """A lot of tokens: granted once, drawn until empty or expired. Amount, dates and priority never change."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    account = models.ForeignKey(
        TokenAccount, on_delete=models.PROTECT, related_name="allocations", db_index=False, verbose_name=_("account")
    )
    source = models.CharField(_("source"), max_length=20, choices=Source.choices)
    amount = models.BigIntegerField(_("tokens"))
    remaining = models.BigIntegerField(_("left"))
    is_open = models.BooleanField(_("open"), default=True, help_text=_("There are tokens left in it."))
    priority = models.SmallIntegerField(
        _("priority"), default=DEFAULT_PRIORITY, help_text=_("A smaller number is spent first.")
    )
    starts_at = models.DateTimeField(_("starts"))
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    booked_at = models.DateTimeField(_("granted"))
    paid_amount = models.DecimalField(_("paid"), max_digits=19, decimal_places=4, null=True, blank=True)
    paid_currency = models.CharField(_("currency"), max_length=3, blank=True)
    parent = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="children",
        verbose_name=_("carried over from"),
    )
    key = models.CharField(_("key"), max_length=KEY_LENGTH, blank=True)
    event = models.ForeignKey(
        AuditEvent, on_delete=models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("audit event")
    )

    objects = TokenAllocationQuerySet.as_manager()

    class Meta:
        verbose_name = _("allocation")
        verbose_name_plural = _("allocations")
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="tp_allocation_amount"),
            models.CheckConstraint(
                condition=Q(remaining__gte=0) & Q(remaining__lte=F("amount")), name="tp_allocation_remaining"
            ),
            models.CheckConstraint(
                condition=Q(is_open=True, remaining__gt=0) | Q(is_open=False, remaining=0), name="tp_allocation_open"
            ),
            models.CheckConstraint(
                condition=Q(expires_at__isnull=True) | Q(expires_at__gt=F("starts_at")), name="tp_allocation_period"
            ),
            models.CheckConstraint(
                condition=Q(paid_amount__isnull=True, paid_currency="")
                | (Q(paid_amount__gte=0) & ~Q(paid_currency="")),
                name="tp_allocation_paid",
            ),
        ]
        indexes = [
            # `remaining` is in no index, so that a debit is a heap-only update on PostgreSQL.
            models.Index(fields=["account", "is_open", "priority", "expires_at", "id"], name="tp_allocation_burn"),
            models.Index(fields=["is_open", "expires_at"], name="tp_allocation_lapse"),
        ]

    def __str__(self) -> str:
        return f"{self.get_source_display()} · {self.amount}"


class UsageFacts(models.Model):
    """What a use was for. Fields that the caller did not give stay empty; they are never guessed."""

    used_at = models.DateTimeField(_("used"), null=True, blank=True)
    model = models.CharField(_("model"), max_length=200, blank=True)
    feature = models.CharField(_("feature"), max_length=100, blank=True)
    input_tokens = models.BigIntegerField(_("input tokens"), null=True, blank=True)
    output_tokens = models.BigIntegerField(_("output tokens"), null=True, blank=True)
    cached_tokens = models.BigIntegerField(_("cached tokens"), null=True, blank=True)
    cost = models.DecimalField(_("cost"), max_digits=20, decimal_places=10, null=True, blank=True)
    metadata = models.JSONField(_("metadata"), default=dict, blank=True)

    class Meta:
        abstract = True


class TokenUsageLog(UsageFacts, AppendOnlyModel):
    """One metered use: what it was for, beside the entries that paid for it."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    account = models.ForeignKey(
        TokenAccount, on_delete=models.PROTECT, related_name="usage", db_index=False, verbose_name=_("account")
    )
    pool = models.ForeignKey(
        TokenAccount,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        verbose_name=_("pool that paid"),
    )
    amount = models.BigIntegerField(_("tokens"))
    is_charged = models.BooleanField(
        _("charged"), default=True, help_text=_("Unset for usage that was only recorded and drew on no lot.")
    )
    used_at = models.DateTimeField(_("used"))
    booked_at = models.DateTimeField(_("booked"))
    tier = models.CharField(_("tier"), max_length=64, blank=True)
    key = models.CharField(_("key"), max_length=KEY_LENGTH, blank=True)
    xid = models.BigIntegerField(
        null=True, db_default=TransactionId(), editable=False, verbose_name=_("inserting transaction")
    )

    objects = AppendOnlyQuerySet["TokenUsageLog"].as_manager()

    class Meta:
        verbose_name = _("usage")
        verbose_name_plural = _("usage")
        constraints = [models.CheckConstraint(condition=Q(amount__gte=0), name="tp_usage_amount")]
        indexes = [models.Index(fields=["account", "used_at"], name="tp_usage_account")]

    def __str__(self) -> str:
        return f"{self.model or self.feature} · {self.amount}"


class LedgerEntry(AppendOnlyModel):
    """One signed, final movement of one lot. All entries of one deed on an account share its `booked_at`."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    account = models.ForeignKey(
        TokenAccount, on_delete=models.PROTECT, related_name="entries", db_index=False, verbose_name=_("account")
    )
    allocation = models.ForeignKey(
        TokenAllocation, on_delete=models.PROTECT, related_name="entries", db_index=False, verbose_name=_("lot")
    )
    kind = models.CharField(_("entry"), max_length=12, choices=EntryKind.choices)
    amount = models.BigIntegerField(_("tokens"))
    lot_balance = models.BigIntegerField(_("left in the lot"))
    balance_after = models.BigIntegerField(_("balance"))
    booked_at = models.DateTimeField(_("booked"))
    usage = models.ForeignKey(
        TokenUsageLog,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="entries",
        db_index=False,
        verbose_name=_("use"),
    )
    event = models.ForeignKey(
        AuditEvent,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="entries",
        db_index=False,
        verbose_name=_("audit event"),
    )
    member = models.ForeignKey(
        TokenAccount,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        verbose_name=_("member who drew"),
    )

    objects = AppendOnlyQuerySet["LedgerEntry"].as_manager()

    class Meta:
        verbose_name = _("ledger entry")
        verbose_name_plural = _("ledger entries")
        constraints = [
            models.CheckConstraint(
                condition=Q(kind__in=["grant", "refund", "rollover_in"], amount__gt=0)
                | Q(kind__in=["consume", "subtract", "expire", "rollover_out"], amount__lt=0),
                name="tp_entry_sign",
            ),
            models.CheckConstraint(condition=Q(lot_balance__gte=0) & Q(balance_after__gte=0), name="tp_entry_balances"),
            # Also what answers `balance(as_of)`: one probe a lot.
            models.UniqueConstraint(fields=["allocation", "booked_at"], name="tp_entry_lot_moment"),
        ]
        indexes = [
            # Statement, and all entries of one deed: an account's moments are strictly increasing.
            models.Index(fields=["account", "booked_at"], name="tp_entry_account_moment"),
            models.Index(fields=["usage"], name="tp_entry_refund", condition=Q(kind="refund")),
            models.Index(fields=["event"], name="tp_entry_event", condition=Q(event__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} · {self.amount:+d}"


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


class TokenHold(UsageFacts):
    """Tokens reserved before the cost is known. It is void at `expires_at`, whether or not a sweep has closed it."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    account = models.ForeignKey(
        TokenAccount, on_delete=models.PROTECT, related_name="holds", db_index=False, verbose_name=_("account")
    )
    key = models.CharField(_("key"), max_length=KEY_LENGTH)
    amount = models.BigIntegerField(_("tokens"))
    status = models.CharField(_("status"), max_length=10, choices=HoldStatus.choices, default=HoldStatus.OPEN)
    booked_at = models.DateTimeField(_("since"))
    expires_at = models.DateTimeField(_("expires"))
    closed_at = models.DateTimeField(_("closed"), null=True, blank=True)
    available_after = models.BigIntegerField(_("available after holding"))
    settled_amount = models.BigIntegerField(_("settled for"), null=True, blank=True)
    closed_available = models.BigIntegerField(_("available after closing"), null=True, blank=True)
    usage = models.OneToOneField(
        TokenUsageLog, on_delete=models.PROTECT, null=True, blank=True, related_name="hold", verbose_name=_("use")
    )

    class Meta:
        verbose_name = _("hold")
        verbose_name_plural = _("holds")
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="tp_hold_amount"),
            models.CheckConstraint(
                condition=Q(status="open", closed_at__isnull=True) | (~Q(status="open") & Q(closed_at__isnull=False)),
                name="tp_hold_closed",
            ),
        ]
        indexes = [
            models.Index(fields=["account", "booked_at"], name="tp_hold_account"),
            models.Index(fields=["status", "expires_at"], name="tp_hold_lapse"),
        ]

    def __str__(self) -> str:
        return f"{self.key} · {self.amount}"


class TokenHoldLot(models.Model):
    """The part of a hold that one lot reserves. It copies the hold's end, so that one index answers what is held."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    hold = models.ForeignKey(
        TokenHold, on_delete=models.PROTECT, related_name="lots", db_index=False, verbose_name=_("hold")
    )
    account = models.ForeignKey(
        TokenAccount, on_delete=models.PROTECT, related_name="+", db_index=False, verbose_name=_("account of the lot")
    )
    allocation = models.ForeignKey(
        TokenAllocation, on_delete=models.PROTECT, related_name="+", db_index=False, verbose_name=_("lot")
    )
    amount = models.BigIntegerField(_("tokens"))
    expires_at = models.DateTimeField(_("expires"))
    closed_at = models.DateTimeField(_("closed"), null=True, blank=True)

    class Meta:
        verbose_name = _("held lot")
        verbose_name_plural = _("held lots")
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="tp_holdlot_amount"),
            models.UniqueConstraint(fields=["hold", "allocation"], name="tp_holdlot_once"),
        ]
        indexes = [models.Index(fields=["account", "closed_at"], name="tp_holdlot_open")]

    def __str__(self) -> str:
        return str(self.amount)


class IdempotencyKey(models.Model):
    """What a key was used for, and where its first answer stands. Unique by a digest, so that no collation matters."""

    digest = models.UUIDField(_("digest"), primary_key=True, help_text=_("From the SHA-256 of the key."))
    verb = models.CharField(_("verb"), max_length=10, choices=Verb.choices)
    account = models.ForeignKey(
        TokenAccount, on_delete=models.PROTECT, related_name="+", db_index=False, verbose_name=_("account")
    )
    amount = models.BigIntegerField(_("tokens"), null=True, blank=True)
    detail = models.CharField(_("further facts"), max_length=64, blank=True)
    available_after = models.BigIntegerField(_("available after"), null=True, blank=True)
    booked_at = models.DateTimeField(_("booked"))
    usage = models.ForeignKey(
        TokenUsageLog,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        verbose_name=_("use"),
    )
    hold = models.ForeignKey(
        TokenHold,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        verbose_name=_("hold"),
    )

    class Meta:
        verbose_name = _("idempotency key")
        verbose_name_plural = _("idempotency keys")

    def __str__(self) -> str:
        return f"{self.verb} · {self.digest}"


class LedgerPrune(models.Model):
    """How far back the history was pruned: `balance(as_of)` refuses moments before the latest of these."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    before = models.DateTimeField(_("pruned before"))
    event = models.ForeignKey(AuditEvent, on_delete=models.PROTECT, related_name="+", verbose_name=_("audit event"))

    class Meta:
        verbose_name = _("pruned history")
        verbose_name_plural = _("pruned history")

    def __str__(self) -> str:
        return str(self.before)
