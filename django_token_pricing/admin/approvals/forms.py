"""What who decides is asked for, and the rule from which size on a second person is needed."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from django_token_pricing import approvals
from django_token_pricing.admin.tokens.forms import TokensField, reason_field
from django_token_pricing.models import ApprovalRule


def note_field(*, required: bool) -> forms.CharField:
    return forms.CharField(
        label=_("Note"),
        required=required,
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("Who asked reads it; it is kept in the audit trail."),
    )


class ApproveForm(forms.Form):
    note = note_field(required=False)
    is_seen = forms.BooleanField(
        label=_("I have looked at what will be done"),
        error_messages={"required": _("Say that you have looked at it: it is done at once.")},
    )

    def __init__(self, data: Any = None) -> None:
        super().__init__(data, prefix="approve")


class RefuseForm(forms.Form):
    note = note_field(required=True)

    def __init__(self, data: Any = None) -> None:
        super().__init__(data, prefix="refuse")


class RuleForm(forms.ModelForm):  # type: ignore[type-arg]
    kind = forms.ChoiceField(label=_("What"))
    above = TokensField(
        label=_("Above"),
        required=False,
        min_value=0,
        help_text=_("In tokens. What is larger needs a second person. Empty: nothing does."),
    )
    reason = reason_field()

    class Meta:
        model = ApprovalRule
        fields = ["kind", "above", "lasts_hours"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = {deed.kind: deed.name() for deed in approvals.deeds()}
        field: Any = self.fields["kind"]
        if self.instance.pk is None:
            taken = set(ApprovalRule.objects.values_list("kind", flat=True))
            choices = {kind: name for kind, name in choices.items() if kind not in taken}
        else:
            # A rule for another kind is another rule.
            choices.setdefault(self.instance.kind, self.instance.kind)
            field.disabled = True
        field.choices = sorted(choices.items(), key=lambda choice: choice[1])
