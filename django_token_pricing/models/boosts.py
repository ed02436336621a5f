"""Emergency boosts: what may be given in a hurry, by tier."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from django_token_pricing.models.base import history


class BoostPolicy(models.Model):
    """The most that an emergency boost may be for accounts of a tier; the one without a tier is for all others."""

    id = models.BigAutoField(primary_key=True, verbose_name=_("number"))
    tier = models.CharField(_("tier"), max_length=64, blank=True, unique=True, help_text=_("Empty: all other tiers."))
    most_tokens = models.BigIntegerField(_("most tokens"), validators=[MinValueValidator(1)])
    most_hours = models.PositiveIntegerField(
        _("longest, in hours"), validators=[MinValueValidator(1), MaxValueValidator(8_784)]
    )
    per_month = models.PositiveSmallIntegerField(
        _("boosts a month"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(1_000)],
        help_text=_("For one account, in a calendar month of the site's zone. Empty: any number."),
    )

    history = history(_("history of boost policies"))

    class Meta:
        verbose_name = _("boost policy")
        verbose_name_plural = _("boost policies")
        ordering = ["tier"]
        constraints = [
            models.CheckConstraint(condition=Q(most_tokens__gt=0) & Q(most_hours__gt=0), name="tp_boostpolicy_most"),
            models.CheckConstraint(
                condition=Q(per_month__isnull=True) | Q(per_month__gt=0), name="tp_boostpolicy_month"
            ),
        ]

    def __str__(self) -> str:
        return self.tier or str(_("All other tiers"))
