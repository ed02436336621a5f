"""What an anomaly rule is set by."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy

from django_token_pricing.admin.tokens.forms import KeyForm, TokensField, reason_field
from django_token_pricing.analytics import anomalies
from django_token_pricing.choices import AnomalyKind, AnomalyScope
from django_token_pricing.exceptions import InvalidInput
from django_token_pricing.lib.texts import is_storable
from django_token_pricing.models import AnomalyRule

VALUES = ("name", "kind", "scope", "sensitivity", "least", "is_active")


class AnomalyRuleForm(KeyForm):
    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=100,
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
    )
    kind = forms.ChoiceField(label=gettext_lazy("Looks for"), choices=AnomalyKind.choices)
    scope = forms.ChoiceField(
        label=gettext_lazy("In"),
        choices=AnomalyScope.choices,
        help_text=gettext_lazy(
            "Of tiers and models, the most used ones; of accounts, those that used much on the day."
        ),
    )
    sensitivity = forms.IntegerField(
        label=gettext_lazy("Sensitivity"),
        min_value=1,
        max_value=10,
        widget=forms.NumberInput(attrs={"class": "num"}),
        help_text=gettext_lazy("From 1 (only what is beyond doubt) to 10 (all that looks odd)."),
    )
    least = TokensField(
        label=gettext_lazy("Least"),
        min_value=0,
        help_text=gettext_lazy(
            "What is less is never told: tokens, or uses where uses are counted (silence, bursts). Of usage and cost,"
            " how far off it has to be in tokens, or how many tokens were used."
        ),
    )
    is_active = forms.BooleanField(label=gettext_lazy("Active"), required=False)
    reason = reason_field()
    untried = forms.BooleanField(label=gettext_lazy("Save without trying it out"), required=False)

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"].strip()
        if not is_storable(name):
            raise forms.ValidationError(gettext_lazy("It holds a character that cannot be stored."))
        return name

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if given.get("kind") and given.get("scope"):
            try:
                anomalies.require_possible(given["kind"], given["scope"])
            except InvalidInput as error:
                self.add_error("scope", error.facts["detail"])
        return given

    def values(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in VALUES}


def initial_of(rule: AnomalyRule) -> dict[str, Any]:
    return {name: getattr(rule, name) for name in VALUES}
