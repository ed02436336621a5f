"""What deeds on accounts and their rows ask for."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from django import forms
from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_token_pricing.admin.base.wording import number
from django_token_pricing.admin.tokens import owners
from django_token_pricing.choices import Source
from django_token_pricing.lib.money import plain
from django_token_pricing.models import DEFAULT_PRIORITY, TokenPackage, TokenPackagePrice, TokenPool

MOST = 2**63 - 1
MOST_LOGINS = 10_000
# A lot that a person grants is none of a plan's period, and carrying over and boosts have deeds of their own.
SOURCES = [
    (source.value, source.label) for source in Source if source not in (Source.PLAN, Source.ROLLOVER, Source.EMERGENCY)
]


class DayInput(forms.DateInput):
    """The browser's own calendar."""

    input_type = "date"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%d")


class MomentInput(forms.DateTimeInput):
    """The browser's own calendar and clock."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%dT%H:%M:%S", attrs={"step": "1"})


def reason_field() -> forms.CharField:
    return forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy("Kept in the audit trail; customers do not see it."),
    )


def notify_field() -> forms.BooleanField:
    return forms.BooleanField(
        label=gettext_lazy("Tell the customer"),
        required=False,
        help_text=gettext_lazy("By e-mail, or as the site has it; a worker sends it afterwards."),
    )


class KeyForm(forms.Form):
    """A form that does its deed once, however often it is sent."""

    key = forms.UUIDField(widget=forms.HiddenInput)


class DeedForm(KeyForm):
    """What every deed asks for."""

    reason = reason_field()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        last = ("notify", "reason", "key")
        self.order_fields([name for name in self.fields if name not in last] + ["notify"])


class TokensField(forms.IntegerField):
    """A whole number, which may be pasted with its groups as the reader's language or a neutral space sets them."""

    widget = forms.TextInput(attrs={"inputmode": "numeric", "class": "num", "autocomplete": "off"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"label": gettext_lazy("Tokens"), "min_value": 1, "max_value": MOST, **options})

    def to_python(self, value: Any) -> int | None:
        separators = re.escape(f"{formats.get_format('THOUSAND_SEPARATOR')} \u00a0\u202f'’")
        text = str(value or "").strip()
        if re.fullmatch(rf"\d{{1,3}}(?:[{separators}]\d{{3}})+", text):
            value = re.sub(rf"[{separators}]", "", text)
        return super().to_python(value)

    def prepare_value(self, value: Any) -> Any:
        return number(value) if isinstance(value, int) else value


def cap_field() -> TokensField:
    return TokensField(
        label=gettext_lazy("Monthly cap"),
        required=False,
        min_value=0,
        help_text=gettext_lazy("Tokens a calendar month in the site's zone, refunds deducted. Empty: no cap."),
    )


def priority_field() -> forms.IntegerField:
    """With the limits of the column, which SQLite does not know."""
    return forms.IntegerField(
        label=gettext_lazy("Priority"),
        min_value=-32768,
        max_value=32767,
        initial=DEFAULT_PRIORITY,
        help_text=gettext_lazy("A smaller number is spent first."),
    )


class AmountForm(DeedForm):
    amount = TokensField()
    notify = notify_field()


class TermsForm(KeyForm):
    """What a new lot is granted on."""

    amount = TokensField()
    source = forms.ChoiceField(label=gettext_lazy("Source"), choices=SOURCES, initial=Source.MANUAL.value)
    starts_on = forms.DateField(
        label=gettext_lazy("Starts"),
        required=False,
        widget=DayInput,
        help_text=gettext_lazy("At the beginning of this day. Empty: now."),
    )
    expires_on = forms.DateField(
        label=gettext_lazy("Expires"),
        required=False,
        widget=DayInput,
        help_text=gettext_lazy("At the end of this day. Empty: never."),
    )
    priority = priority_field()
    notify = notify_field()


class GrantForm(TermsForm, DeedForm):
    paid_amount = forms.DecimalField(
        label=gettext_lazy("Paid"),
        required=False,
        min_value=0,
        max_digits=19,
        decimal_places=4,
        localize=True,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "class": "num", "autocomplete": "off"}),
    )
    paid_currency = forms.RegexField(
        label=gettext_lazy("Currency"),
        regex=r"^[A-Z]{3}$",
        required=False,
        widget=forms.TextInput(attrs={"size": 4, "maxlength": 3, "autocomplete": "off"}),
        error_messages={"invalid": gettext_lazy("Three capital letters, such as EUR.")},
    )

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        paid, currency = given.get("paid_amount"), given.get("paid_currency")
        if paid is not None and not currency and "paid_currency" not in self.errors:
            self.add_error("paid_currency", _("Say in which currency it was paid."))
        if currency and paid is None and "paid_amount" not in self.errors:
            self.add_error("paid_amount", _("Say how much was paid, or leave the currency out."))
        return given


class DatesForm(DeedForm):
    starts_on = forms.DateField(
        label=gettext_lazy("Starts"),
        required=False,
        widget=DayInput,
        help_text=gettext_lazy("At the beginning of this day. Empty: as now."),
    )
    expires_on = forms.DateField(
        label=gettext_lazy("Expires"),
        required=False,
        widget=DayInput,
        help_text=gettext_lazy("At the end of this day. Empty: never."),
    )


class RefundForm(DeedForm):
    amount = TokensField(required=False, help_text=gettext_lazy("Empty: all that has not been refunded."))


class PoolForm(forms.ModelForm):  # type: ignore[type-arg]
    reason = reason_field()

    class Meta:
        model = TokenPool
        fields = ["name", "is_active"]


class PackageForm(forms.ModelForm):  # type: ignore[type-arg]
    tokens = TokensField()
    priority = priority_field()
    reason = reason_field()

    class Meta:
        model = TokenPackage
        fields = [
            "name",
            "code",
            "description",
            "tokens",
            "validity_days",
            "priority",
            "per_user",
            "is_active",
            "place",
        ]
        widgets = {"description": forms.Textarea(attrs={"rows": 3})}


class PriceField(forms.DecimalField):
    def prepare_value(self, value: Any) -> Any:
        return plain(value) if isinstance(value, Decimal) else value


class PriceForm(forms.ModelForm):  # type: ignore[type-arg]
    """A line of a table: its heads are no labels to assistive technology, so each field brings its own."""

    class Meta:
        model = TokenPackagePrice
        fields = ["currency", "amount"]
        field_classes = {"amount": PriceField}
        widgets = {"currency": forms.TextInput(attrs={"size": 4, "autocomplete": "off"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs["aria-label"] = str(field.label).capitalize()
        # A price in another currency is another price; two that swapped theirs would meet on the way.
        self.fields["currency"].disabled = self.instance.pk is not None

    def clean_currency(self) -> str:
        return self.cleaned_data["currency"].upper()


class PricesFormSet(forms.BaseInlineFormSet):  # type: ignore[type-arg]
    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        if "DELETE" in form.fields:
            form.fields["DELETE"].widget.attrs["aria-label"] = _("Delete")


class ReasonForm(DeedForm):
    """For rows that were chosen in a list."""

    rows = forms.CharField(widget=forms.HiddenInput)


class MembersForm(DeedForm):
    members = forms.CharField(
        label=gettext_lazy("Members"),
        max_length=MOST_LOGINS * 100,
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false"}),
        help_text=gettext_lazy("One login a line, or with commas or semicolons between them. At most 10,000."),
    )

    def clean_members(self) -> list[Any]:
        logins = list(dict.fromkeys(filter(None, map(str.strip, re.split(r"[\n,;]", self.cleaned_data["members"])))))
        if not logins:
            raise forms.ValidationError(_("There is no login in it."))
        if len(logins) > MOST_LOGINS:
            raise forms.ValidationError(_("These are %(count)s logins.") % {"count": number(len(logins))})
        found = owners.users_of(logins)
        if missing := [login for login in logins if login not in found]:
            names = ", ".join(missing[:10]) + (" …" if len(missing) > 10 else "")
            words = ngettext(
                "%(count)s login is not known: %(names)s", "%(count)s logins are not known: %(names)s", len(missing)
            )
            raise forms.ValidationError(words % {"count": number(len(missing)), "names": names})
        return list(found.values())


class CapForm(DeedForm):
    monthly_cap = cap_field()


class AddMembersForm(MembersForm):
    monthly_cap = cap_field()
    move = forms.BooleanField(label=gettext_lazy("Move those who are in another pool"), required=False)


class CapsForm(MembersForm):
    monthly_cap = cap_field()
