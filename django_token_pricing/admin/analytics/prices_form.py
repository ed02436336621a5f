"""The form of a price."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_token_pricing import analytics
from django_token_pricing.admin.limits.forms import Suggested
from django_token_pricing.admin.tokens.forms import MomentInput, reason_field
from django_token_pricing.exceptions import InvalidMoment, InvalidPrice
from django_token_pricing.models import ModelPrice
from django_token_pricing.tokens import prices

# Models that were used in so many days are suggested.
USED_DAYS = 90
AMOUNTS = (
    "input",
    "output",
    "cached_read",
    "cached_write",
    "reasoning",
    "weight_input",
    "weight_output",
    "weight_cached_read",
    "weight_cached_write",
    "weight_reasoning",
)


class ModelPriceForm(forms.ModelForm):  # type: ignore[type-arg]
    starts_at = forms.DateTimeField(label=gettext_lazy("Valid from"), required=False, widget=MomentInput)
    reason = reason_field()

    class Meta:
        model = ModelPrice
        fields = ["model", "provider", "starts_at", *AMOUNTS]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Who may only look has a form without fields.
        if "starts_at" in self.fields:
            facts = {"zone": timezone.get_current_timezone_name()}
            help_text = _("Empty: from now on. Until the next price of the model. In %(zone)s.")
            if self.instance.pk:
                self.fields["starts_at"].required = True
                help_text = _("Until the next price of the model begins. In %(zone)s.")
            self.fields["starts_at"].help_text = help_text % facts
        if "model" in self.fields:
            used = analytics.models_in_use(analytics.today() - timedelta(days=USED_DAYS))
            self.fields["model"].widget = Suggested(used, maxlength="200")
        for name in AMOUNTS:
            if name in self.fields:
                self.fields[name].widget.attrs.update({"class": "vTextField num", "step": "any"})

    def clean(self) -> dict[str, Any]:
        """What the verb would refuse is said at the field that has to change."""
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                prices.draft(**self.values())
            except InvalidPrice as error:
                self.add_error(error.name, error.detail[:1].upper() + error.detail[1:])
            except InvalidMoment as error:
                self.add_error("starts_at", error.message)
        return given

    def values(self) -> dict[str, Any]:
        """What `draft` and `set_price` take."""
        found = {name: self.cleaned_data[name] for name in ("model", "provider", "starts_at", *AMOUNTS)}
        if self.instance.pk and "starts_at" not in self.changed_data:
            # A field shows seconds, and the row may hold less.
            found["starts_at"] = self.initial["starts_at"]
        return found
