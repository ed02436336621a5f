"""Packages as files: a row is a package with its prices, found by its code. What a file lacks stays as it is."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet, prefetch_related_objects
from django.utils.translation import gettext as _
from import_export.fields import Field
from import_export.forms import ConfirmImportForm
from import_export.widgets import Widget

from django_token_pricing.admin.base.exports import told
from django_token_pricing.admin.base.history import sign
from django_token_pricing.admin.base.importing import FileResource
from django_token_pricing.admin.tokens.forms import reason_field
from django_token_pricing.lib import cells
from django_token_pricing.lib.money import plain
from django_token_pricing.lib.rows import SheetError
from django_token_pricing.models import TokenPackage, TokenPackagePrice

PRICE = re.compile(r"([A-Za-z]{3})(?![A-Za-z])\s*(\S.*)")
# A spreadsheet rounds what has more.
MOST_DIGITS = 15
YES, NO = {"yes", "true", "1", "on"}, {"no", "false", "0", "off"}


class ConfirmForm(ConfirmImportForm):  # type: ignore[misc]
    reason = reason_field()


class Text(Widget):  # type: ignore[misc]
    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> str:
        """As it stands, spaces and line ends too; a number of a spreadsheet as its digits."""
        return value if isinstance(value, str) else cells.text(value)

    def render(self, value: Any, obj: Any = None, **kwargs: Any) -> str:
        return "" if value is None else str(value)


class Whole(Widget):  # type: ignore[misc]
    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> int | None:
        if value is None or value == "":
            return None
        try:
            return cells.whole(value)
        except SheetError as error:
            raise ValueError(told(error)) from error

    def render(self, value: Any, obj: Any = None, *, force_native_type: bool = False, **kwargs: Any) -> Any:
        if force_native_type and (value is None or abs(value) < 10**MOST_DIGITS):
            return value
        return "" if value is None else str(value)


class Flag(Widget):  # type: ignore[misc]
    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> bool:
        text = cells.text(value).casefold()
        if text not in YES | NO:
            raise ValueError(_("It must be yes or no."))
        return text in YES

    def render(self, value: Any, obj: Any = None, *, force_native_type: bool = False, **kwargs: Any) -> Any:
        if force_native_type:
            return value
        return "yes" if value else "no"


class Prices(Widget):  # type: ignore[misc]
    """EUR 9.00; USD 10.00"""

    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> dict[str, Decimal]:
        prices: dict[str, Decimal] = {}
        for part in filter(None, map(str.strip, cells.text(value).split(";"))):
            found = PRICE.fullmatch(part)
            if found is None:
                raise ValueError(_("“%(part)s” is no price: write EUR 9.00; USD 10.00.") % {"part": part[:80]})
            currency = found[1].upper()
            if currency in prices:
                raise ValueError(_("There are two prices in %(currency)s.") % {"currency": currency})
            try:
                price = TokenPackagePrice(currency=currency, amount=cells.decimal(found[2]))
                price.clean_fields(exclude=["package"])
            except SheetError as error:
                raise ValueError(told(error)) from error
            except ValidationError as error:
                raise ValueError(" ".join(error.messages)) from error
            prices[currency] = price.amount
        return prices

    def render(self, value: Any, obj: Any = None, **kwargs: Any) -> str:
        return "; ".join(f"{currency} {plain(amount)}" for currency, amount in sorted((value or {}).items()))


class PricesField(Field):  # type: ignore[misc]
    """The prices that a row gives its package, until they are saved after it; else those that it has."""

    def get_value(self, instance: TokenPackage) -> dict[str, Decimal]:
        given: dict[str, Decimal] | None = getattr(instance, "given_prices", None)
        if given is not None:
            return given
        return {price.currency: price.amount for price in instance.prices.all()} if instance.pk else {}

    def save(self, instance: Any, row: Any, is_m2m: bool = False, **kwargs: Any) -> None:
        instance.given_prices = self.clean(row, **kwargs)


class PackageResource(FileResource):
    code = Field("code", "code", Text())
    name = Field("name", "name", Text())
    description = Field("description", "description", Text())
    tokens = Field("tokens", "tokens", Whole())
    validity_days = Field("validity_days", "validity_days", Whole())
    priority = Field("priority", "priority", Whole())
    per_user = Field("per_user", "per_user", Whole())
    is_active = Field("is_active", "is_active", Flag())
    place = Field("place", "place", Whole())
    prices = PricesField("prices", "prices", Prices())

    class Meta(FileResource.Meta):
        model = TokenPackage
        import_id_fields = ["code"]
        fields = [
            "code",
            "name",
            "description",
            "tokens",
            "validity_days",
            "priority",
            "per_user",
            "is_active",
            "place",
            "prices",
        ]
        import_order = export_order = fields

    def export(self, queryset: QuerySet[Any] | None = None, **kwargs: Any) -> Any:
        found = TokenPackage.objects.all() if queryset is None else queryset
        return super().export(found.prefetch_related("prices"), **kwargs)

    def after_init_instance(self, instance: Any, new: bool, row: Any, **kwargs: Any) -> None:
        """What it costs before the row is saved is compared after that too."""
        if not new:
            prefetch_related_objects([instance], "prices")

    def before_save_instance(self, instance: Any, row: Any, **kwargs: Any) -> None:
        sign(instance, actor=kwargs["user"], reason=kwargs["reason"])

    def do_instance_save(self, instance: Any, is_create: bool) -> None:
        """Not where prices alone have changed: that would leave a version without a change."""
        now = TokenPackage.objects.filter(pk=instance.pk).values(*self.own_fields()).first()
        if is_create or any(getattr(instance, name) != value for name, value in (now or {}).items()):
            super().do_instance_save(instance, is_create)

    def after_save_instance(self, instance: Any, row: Any, **kwargs: Any) -> None:
        given: dict[str, Decimal] | None = getattr(instance, "given_prices", None)
        if given is None:
            return
        there = {price.currency: price for price in instance.prices.all()}
        for currency in sorted({*there, *given}):
            price = there.get(currency) or TokenPackagePrice(package=instance, currency=currency)
            sign(price, actor=kwargs["user"], reason=kwargs["reason"])
            if currency not in given:
                price.delete()
            elif price.amount != given[currency]:
                price.amount = given[currency]
                price.save()

    @classmethod
    def own_fields(cls) -> list[str]:
        return [name for name in cls.Meta.fields if name != "prices"]
