"""A policy's form, and the sample subscriber of its preview."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_token_pricing.admin.tokens.forms import DayInput, MomentInput, TokensField, priority_field, reason_field
from django_token_pricing.automation import renewals
from django_token_pricing.lib.periods import moment_of
from django_token_pricing.models import RenewalPolicy

PREVIEW = "_preview"


class PolicyForm(forms.ModelForm):  # type: ignore[type-arg]
    """Asked for a preview it is shown again, with what it would do; nothing is saved."""

    starts_at = forms.DateTimeField(
        label=gettext_lazy("For periods from"),
        widget=MomentInput(),
        help_text=gettext_lazy("Periods that began before are not granted, however many were missed."),
    )
    tokens = TokensField(label=gettext_lazy("Tokens a period"))
    rollover_cap = TokensField(
        label=gettext_lazy("At most tokens"), required=False, help_text=gettext_lazy("Empty: no cap.")
    )
    priority = priority_field()
    reason = reason_field()

    class Meta:
        model = RenewalPolicy
        fields = [
            "code",
            "is_active",
            "starts_at",
            "unit",
            "count",
            "anchor",
            "missed",
            "tokens",
            "is_per_seat",
            "priority",
            "lasts",
            "lasts_days",
            "rollover",
            "rollover_percent",
            "rollover_cap",
            "rollover_days",
            "rollover_periods",
            "on_upgrade",
            "on_downgrade",
            "on_past_due",
            "on_cancel",
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.is_preview:
            self.fields["reason"].required = False

    @property
    def is_preview(self) -> bool:
        return self.is_bound and PREVIEW in self.data

    def is_valid(self) -> bool:
        """What is previewed is not saved, however right it is."""
        return super().is_valid() and not self.is_preview

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        found = renewals.check(self.instance)
        if found:
            # The table's constraints say the same without naming the field to mend.
            self.errors.pop(NON_FIELD_ERRORS, None)
        for field, problem in found.items():
            if field not in self.errors:
                self.add_error(field, problem)


class SampleForm(forms.Form):
    """The subscriber of the preview."""

    start = forms.DateField(label=gettext_lazy("Starts on"), widget=DayInput())
    zone = forms.CharField(
        label=gettext_lazy("Time zone"), max_length=64, widget=forms.TextInput(attrs={"autocomplete": "off"})
    )
    seats = forms.IntegerField(label=gettext_lazy("Seats"), min_value=1, max_value=1_000_000)
    used = forms.IntegerField(label=gettext_lazy("Uses of what is there, in per cent"), min_value=0, max_value=100)

    @classmethod
    def of(cls, given: Any) -> SampleForm:
        """From the address, or a subscriber who starts on 31 January and uses half."""
        name = timezone.get_default_timezone_name()
        usual = {"start": date(timezone.localdate().year, 1, 31), "zone": name, "seats": 1, "used": 50}
        chosen = {key: given.get(key, value) for key, value in usual.items()}
        return cls(chosen)

    def clean_zone(self) -> str:
        name: str = self.cleaned_data["zone"]
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise forms.ValidationError(_("There is no such time zone.")) from None
        return name

    def clean_start(self) -> date:
        start: date = self.cleaned_data["start"]
        if not 1971 <= start.year <= 2200:
            raise forms.ValidationError(_("Choose a day between 1971 and 2200."))
        return start

    @property
    def anchor_at(self) -> datetime:
        return moment_of(datetime.combine(self.cleaned_data["start"], time.min), ZoneInfo(self.cleaned_data["zone"]))
