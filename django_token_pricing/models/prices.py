"""What providers charge for their models, and how many of our tokens one of theirs is worth."""

from __future__ import annotations

from typing import Any

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from django_token_pricing.choices import PriceSource
from django_token_pricing.models.base import history


def _amount(name: Any, help_text: Any, digits: int) -> models.DecimalField[Any, Any]:
    return models.DecimalField(
        name,
        max_digits=digits,
        decimal_places=6,
        null=True,
        blank=True,
        help_text=help_text,
        validators=[MinValueValidator(0)],
    )


def _price(name: Any, help_text: Any) -> models.DecimalField[Any, Any]:
    return _amount(name, help_text, 14)


def _weight(name: Any, help_text: Any) -> models.DecimalField[Any, Any]:
    return _amount(name, help_text, 12)


class ModelPrice(models.Model):
    """Prices and weights of a model from a moment on, until its next row begins: so they cannot overlap.

    A row for a provider goes before one for any. Prices are for a million of the provider's tokens, in the currency of
    the site's costs; an empty price of a special kind is that of its plain kind, and a row without input and output
    price says that the price is not known.
    """

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    provider = models.CharField(_("provider"), max_length=50, blank=True, help_text=_("Empty: any provider."))
    model = models.CharField(_("model"), max_length=200, help_text=_("As it stands in the usage."))
    starts_at = models.DateTimeField(_("valid from"))
    input = _price(_("input"), _("For a million tokens."))
    output = _price(_("output"), _("For a million tokens."))
    cached_read = _price(_("cached input"), _("Input that the provider had kept. Empty: like input."))
    cached_write = _price(_("input kept"), _("Input that the provider is to keep. Empty: like input."))
    reasoning = _price(_("reasoning"), _("Output that nobody sees. Empty: like output."))
    weight_input = _weight(_("our tokens for an input token"), _("Empty: 1."))
    weight_output = _weight(_("our tokens for an output token"), _("Empty: 1."))
    weight_cached_read = _weight(_("our tokens for a cached one"), _("Empty: like input."))
    weight_cached_write = _weight(_("our tokens for one kept"), _("Empty: like input."))
    weight_reasoning = _weight(_("our tokens for a reasoning one"), _("Empty: like output."))
    source = models.CharField(_("from"), max_length=12, choices=PriceSource.choices, default=PriceSource.MANUAL)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    history = history(_("history of model prices"))

    class Meta:
        verbose_name = _("model price")
        verbose_name_plural = _("model prices")
        constraints = [
            models.UniqueConstraint(
                fields=["model", "provider", "starts_at"],
                name="tp_modelprice_once",
                violation_error_message=_(
                    "There is a price of this model from that moment on already. Change that one."
                ),
            ),
            models.CheckConstraint(
                condition=Q(input__isnull=True, output__isnull=True, cached_read__isnull=True)
                | Q(input__isnull=False, output__isnull=False),
                name="tp_modelprice_both",
                violation_error_message=_("Give the input and the output price, or neither where they are not known."),
            ),
        ]

    def __str__(self) -> str:
        return self.model
