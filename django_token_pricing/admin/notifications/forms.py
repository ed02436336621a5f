"""What a warning is set by, and what a person wants to hear of."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_token_pricing import notifications
from django_token_pricing.admin.tokens.forms import TokensField, reason_field
from django_token_pricing.choices import NotificationKind, WarningKind
from django_token_pricing.lib.texts import is_storable
from django_token_pricing.models import WarningRule

# What each kind needs, and what it may have.
NEEDS = {
    WarningKind.LOW_PERCENT: "percent",
    WarningKind.LOW_TOKENS: "tokens",
    WarningKind.EXPIRING: "days",
    WarningKind.EXPIRED: "",
    WarningKind.LIMIT: "percent",
}
MAY_HAVE = {WarningKind.EXPIRING: "tokens", WarningKind.EXPIRED: "tokens"}


class WarningForm(forms.ModelForm):  # type: ignore[type-arg]
    tokens = TokensField(
        required=False,
        min_value=0,
        help_text=gettext_lazy("How few are left; of tokens that expire, how many there must be. Else empty."),
    )
    reason = reason_field()

    class Meta:
        model = WarningRule
        fields = ["kind", "percent", "tokens", "days", "tier", "tells_user", "tells_admins", "is_active"]
        labels = {"percent": gettext_lazy("Per cent"), "days": gettext_lazy("Days ahead")}
        help_texts = {
            "percent": gettext_lazy(
                "Of what was granted this month, how much is left; of a limit, how much is used. Else empty."
            ),
            "days": gettext_lazy("For tokens that expire soon. Else empty."),
            "tells_admins": gettext_lazy(
                "Those who have the permission to receive warnings; all accounts in one line."
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What has fired of the one kind says nothing of another.
        if "kind" in self.fields:
            self.fields["kind"].disabled = self.instance.pk is not None

    def clean_tier(self) -> str:
        tier: str = self.cleaned_data["tier"].strip()
        if not is_storable(tier):
            raise forms.ValidationError(_("It holds a character that cannot be stored."))
        return tier

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        kind = given.get("kind")
        if kind:
            self._check_threshold(WarningKind(kind), given)
        if not given.get("tells_user") and not given.get("tells_admins"):
            self.add_error("tells_user", _("Say who is told: the user, the operators, or both."))
        if not self.errors:
            self._check_others(given)
        return given

    def _check_threshold(self, kind: WarningKind, given: dict[str, Any]) -> None:
        for name in ("percent", "tokens", "days"):
            value = given.get(name)
            if name in self.errors:
                continue
            if value is None and name == NEEDS[kind]:
                self.add_error(name, _("This warning needs it."))
            elif value is not None and name not in (NEEDS[kind], MAY_HAVE.get(kind)):
                self.add_error(name, _("This warning does not take it: leave it empty."))
            elif kind == WarningKind.LIMIT and name == "percent" and value == 0:
                self.add_error(name, _("Of a limit at least 1 per cent must be used."))

    def _check_others(self, given: dict[str, Any]) -> None:
        same = {name: given[name] for name in ("kind", "percent", "tokens", "days", "tier")}
        other = WarningRule.objects.filter(**same).exclude(pk=self.instance.pk).first()
        if other is not None:
            words = _("There is this warning already, number %(number)s. Change whom that one tells.")
            self.add_error("kind", words % {"number": other.pk})


class PreferencesForm(forms.Form):
    """Two boxes a kind."""

    def __init__(self, user: Any, data: Any = None) -> None:
        super().__init__(data, prefix="preferences")
        self.user = user
        for kind, preference in notifications.preferences(user).items():
            for way, label in (("in_app", _("in the inbox")), ("by_mail", _("by mail"))):
                name = f"{kind.value}_{way}"
                self.fields[name] = forms.BooleanField(required=False, initial=getattr(preference, way))
                self.fields[name].widget.attrs["aria-label"] = f"{kind.label}, {label}"

    def lines(self) -> list[tuple[str, Any, Any]]:
        return [
            (str(kind.label), self[f"{kind.value}_in_app"], self[f"{kind.value}_by_mail"]) for kind in NotificationKind
        ]

    def save(self) -> None:
        for kind in NotificationKind:
            notifications.set_preference(
                self.user,
                kind,
                in_app=self.cleaned_data[f"{kind.value}_in_app"],
                by_mail=self.cleaned_data[f"{kind.value}_by_mail"],
            )
