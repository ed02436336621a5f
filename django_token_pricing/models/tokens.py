"""The token ledger's tables: lots, uses, entries, holds and keys.

A lot (`TokenAllocation`) keeps what is left of it; the entries say how it came to that, one signed row a movement, and
never change.
"""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import F, Q, Value
from django.db.models.lookups import Exact, GreaterThan, IsNull
from django.utils.translation import gettext_lazy as _

from django_token_pricing.choices import EntryKind, FoldKind, HoldStatus, Source, Verb
from django_token_pricing.models.accounts import TokenAccount
from django_token_pricing.models.audit import AuditEvent
from django_token_pricing.models.base import FoldedModel, FoldedQuerySet, transaction_id

DEFAULT_PRIORITY = 100
KEY_LENGTH = 200
TOKEN_COUNTS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")


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
        permissions = [
            ("import_tokenallocation", _("Can import allocations")),
            ("export_tokenallocation", _("Can export allocations")),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="tp_allocation_amount"),
            models.CheckConstraint(
                condition=Q(remaining__gte=0) & Q(remaining__lte=F("amount")), name="tp_allocation_remaining"
            ),
            # PostgreSQL reads a check anew in each statement that writes a row, so these are short; NULL passes them.
            models.CheckConstraint(
                condition=Exact(F("is_open"), GreaterThan(F("remaining"), 0)), name="tp_allocation_open"
            ),
            models.CheckConstraint(condition=Q(expires_at__gt=F("starts_at")), name="tp_allocation_period"),
            models.CheckConstraint(condition=Q(paid_amount__gte=0), name="tp_allocation_paid"),
            models.CheckConstraint(
                condition=Exact(IsNull(F("paid_amount"), True), Exact(F("paid_currency"), Value(""))),
                name="tp_allocation_currency",
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
    provider = models.CharField(_("provider"), max_length=50, blank=True)
    model = models.CharField(_("model"), max_length=200, blank=True)
    feature = models.CharField(_("feature"), max_length=100, blank=True)
    input_tokens = models.BigIntegerField(_("input tokens"), null=True, blank=True, help_text=_("All of the input."))
    output_tokens = models.BigIntegerField(_("output tokens"), null=True, blank=True, help_text=_("All of the output."))
    cached_tokens = models.BigIntegerField(
        _("cached tokens"), null=True, blank=True, help_text=_("Of the input, what the provider had kept.")
    )
    cache_write_tokens = models.BigIntegerField(
        _("tokens kept"), null=True, blank=True, help_text=_("Of the input, what the provider is to keep.")
    )
    reasoning_tokens = models.BigIntegerField(
        _("reasoning tokens"), null=True, blank=True, help_text=_("Of the output, what nobody sees.")
    )
    cost = models.DecimalField(_("cost"), max_digits=20, decimal_places=10, null=True, blank=True)
    metadata = models.JSONField(_("metadata"), default=dict, blank=True)

    class Meta:
        abstract = True


class TokenUsageLog(UsageFacts, FoldedModel):
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
    member_of = models.ForeignKey(
        TokenAccount,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        # InnoDB would lock the pool's account for each use of a member, and so let members deadlock. No account goes.
        db_constraint=False,
        verbose_name=_("pool of the user"),
        help_text=_(
            "The pool in which the user was at the time, whether or not it paid: limits of a pool count these."
        ),
    )
    amount = models.BigIntegerField(_("tokens"))
    is_charged = models.BooleanField(
        _("charged"), default=True, help_text=_("Unset for usage that was only recorded and drew on no lot.")
    )
    used_at = models.DateTimeField(_("used"))
    booked_at = models.DateTimeField(_("booked"))
    tier = models.CharField(_("tier"), max_length=64, blank=True)
    key = models.CharField(_("key"), max_length=KEY_LENGTH, blank=True)
    xid = transaction_id()

    fold_kind = FoldKind.USAGE
    objects = FoldedQuerySet["TokenUsageLog"].as_manager()

    class Meta:
        verbose_name = _("usage")
        verbose_name_plural = _("usage")
        permissions = [("export_tokenusagelog", _("Can export usage"))]
        constraints = [models.CheckConstraint(condition=Q(amount__gte=0), name="tp_usage_amount")]
        indexes = [
            models.Index(fields=["account", "used_at"], name="tp_usage_account"),
            models.Index(
                fields=["member_of", "used_at"], name="tp_usage_member_of", condition=Q(member_of__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model or self.feature} · {self.amount}"


class LedgerEntry(FoldedModel):
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

    xid = transaction_id()

    fold_kind = FoldKind.ENTRY
    objects = FoldedQuerySet["LedgerEntry"].as_manager()

    class Meta:
        verbose_name = _("ledger entry")
        verbose_name_plural = _("ledger entries")
        permissions = [("export_ledgerentry", _("Can export ledger entries"))]
        constraints = [
            models.CheckConstraint(
                condition=~Q(amount=0)
                & Q(Exact(GreaterThan(F("amount"), 0), Q(kind="grant") | Q(kind="refund") | Q(kind="rollover_in"))),
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


class TokenHold(UsageFacts):
    """Tokens reserved before the cost is known. It is void at `expires_at`, whether or not a sweep has closed it."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    account = models.ForeignKey(
        TokenAccount, on_delete=models.PROTECT, related_name="holds", db_index=False, verbose_name=_("account")
    )
    member_of = models.ForeignKey(
        TokenAccount,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        # InnoDB would lock the pool's account for each use of a member, and so let members deadlock. No account goes.
        db_constraint=False,
        verbose_name=_("pool of the user"),
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
            # What counts in full against limits.
            models.Index(fields=["account"], name="tp_hold_open", condition=Q(status="open")),
            models.Index(
                fields=["member_of"], name="tp_hold_open_pool", condition=Q(status="open", member_of__isnull=False)
            ),
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
