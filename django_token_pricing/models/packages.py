"""Packages of tokens that a site sells once, not as a subscription. Selling them is a verb of its own."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from django_token_pricing.models.accounts import TokenAccount
from django_token_pricing.models.base import history
from django_token_pricing.models.tokens import DEFAULT_PRIORITY, KEY_LENGTH, TokenAllocation


class TokenPackage(models.Model):
    """What a customer gets: tokens, for how long, and how they rank among the customer's other lots."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    code = models.SlugField(
        _("code"),
        max_length=64,
        unique=True,
        help_text=_("What code and files call it; it stays when the name changes."),
    )
    name = models.CharField(_("name"), max_length=150)
    description = models.TextField(_("description"), blank=True)
    tokens = models.BigIntegerField(_("tokens"), validators=[MinValueValidator(1)])
    validity_days = models.PositiveIntegerField(
        _("valid for days"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(36_500)],
        help_text=_("From the purchase, to the end of the last day in the site's zone. Empty: no end."),
    )
    priority = models.SmallIntegerField(
        _("priority"), default=DEFAULT_PRIORITY, help_text=_("A smaller number is spent first.")
    )
    per_user = models.PositiveIntegerField(
        _("purchases per user"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("How often one user may buy it. Empty: any number."),
    )
    is_active = models.BooleanField(_("active"), default=True, help_text=_("What is not active is not for sale."))
    place = models.PositiveIntegerField(_("place"), default=0, help_text=_("A smaller number is shown first."))
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    history = history(_("history of packages"))

    class Meta:
        verbose_name = _("token package")
        verbose_name_plural = _("token packages")
        ordering = ["place", "code"]
        constraints = [
            models.CheckConstraint(condition=Q(tokens__gt=0), name="tp_package_tokens"),
            models.CheckConstraint(condition=Q(validity_days__gt=0), name="tp_package_validity"),
            models.CheckConstraint(condition=Q(per_user__gt=0), name="tp_package_per_user"),
        ]
        permissions = [
            ("import_tokenpackage", _("Can import token packages")),
            ("export_tokenpackage", _("Can export token packages")),
        ]

    def __str__(self) -> str:
        return self.name


class TokenPackagePrice(models.Model):
    """What a package costs in one currency."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    package = models.ForeignKey(
        TokenPackage, on_delete=models.CASCADE, related_name="prices", verbose_name=_("package")
    )
    currency = models.CharField(
        _("currency"),
        max_length=3,
        validators=[RegexValidator(r"^[A-Z]{3}$", _("Three capital letters, such as EUR."))],
    )
    amount = models.DecimalField(_("price"), max_digits=19, decimal_places=4, validators=[MinValueValidator(0)])

    history = history(_("history of prices of packages"))

    class Meta:
        verbose_name = _("price of a package")
        verbose_name_plural = _("prices of packages")
        ordering = ["currency"]
        constraints = [
            models.UniqueConstraint(fields=["package", "currency"], name="tp_packageprice_currency"),
            models.CheckConstraint(condition=Q(amount__gte=0), name="tp_packageprice_amount"),
        ]

    def __str__(self) -> str:
        return f"{self.currency} {self.amount}"


class Purchase(models.Model):
    """A package that a user bought. A payment buys once; what is taken back is so once."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    account = models.ForeignKey(
        TokenAccount, on_delete=models.PROTECT, related_name="purchases", db_index=False, verbose_name=_("account")
    )
    package = models.ForeignKey(
        TokenPackage, on_delete=models.PROTECT, related_name="purchases", db_index=False, verbose_name=_("package")
    )
    payment_ref = models.CharField(_("payment reference"), max_length=KEY_LENGTH, blank=True)
    digest = models.UUIDField(
        _("digest of the reference"), unique=True, help_text=_("No database's collation matters.")
    )
    quantity = models.PositiveIntegerField(_("quantity"), default=1)
    tokens = models.BigIntegerField(_("tokens"))
    amount = models.DecimalField(_("paid"), max_digits=19, decimal_places=4)
    currency = models.CharField(_("currency"), max_length=3)
    allocation = models.OneToOneField(
        TokenAllocation,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="purchase",
        verbose_name=_("lot"),
        help_text=_("Empty once retention has deleted the lot."),
    )
    purchased_at = models.DateTimeField(_("bought"))
    taken_back_at = models.DateTimeField(_("taken back"), null=True, blank=True)
    taken_back = models.BigIntegerField(
        _("tokens taken back"), default=0, help_text=_("What was left when the purchase was taken back.")
    )

    class Meta:
        verbose_name = _("purchase")
        verbose_name_plural = _("purchases")
        permissions = [
            ("take_back_purchase", _("Can take back purchases")),
            ("export_purchase", _("Can export purchases")),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(quantity__gt=0) & Q(tokens__gt=0), name="tp_purchase_tokens"),
            models.CheckConstraint(condition=Q(amount__gte=0), name="tp_purchase_amount"),
            models.CheckConstraint(
                condition=Q(taken_back=0)
                | Q(taken_back__gt=0, taken_back__lte=F("tokens"), taken_back_at__isnull=False),
                name="tp_purchase_taken_back",
            ),
        ]
        indexes = [
            models.Index(fields=["account", "package"], name="tp_purchase_account"),
            models.Index(fields=["package", "purchased_at"], name="tp_purchase_package"),
            models.Index(fields=["currency", "purchased_at"], name="tp_purchase_currency"),
            models.Index(fields=["purchased_at"], name="tp_purchase_moment"),
        ]

    def __str__(self) -> str:
        return str(_("Purchase %(number)s") % {"number": self.pk})
