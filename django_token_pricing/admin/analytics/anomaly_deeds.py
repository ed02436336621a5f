"""Deeds at one alert: acknowledge, resolve, mute, reopen. Each asks for a note, which the audit trail keeps."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_token_pricing.admin.tokens.deed_pages import Deed
from django_token_pricing.admin.tokens.forms import DeedForm, MomentInput
from django_token_pricing.analytics import anomalies
from django_token_pricing.analytics.anomalies import wording
from django_token_pricing.choices import AnomalyState

REAL: list[tuple[str, Any]] = [
    ("", gettext_lazy("Not said")),
    ("yes", gettext_lazy("Yes, it was worth it")),
    ("no", gettext_lazy("No, a false alarm")),
]


class JudgeForm(DeedForm):
    is_real = forms.ChoiceField(
        label=gettext_lazy("Was it right to tell?"),
        choices=REAL,
        required=False,
        help_text=gettext_lazy("From these answers the precision of the rule is measured."),
    )


class MuteForm(DeedForm):
    until = forms.DateTimeField(
        label=gettext_lazy("Until"),
        widget=MomentInput,
        help_text=gettext_lazy("Until then nothing more of the same rule and target is told."),
    )

    def clean_until(self) -> datetime:
        until: datetime = self.cleaned_data["until"]
        if until <= timezone.now():
            raise forms.ValidationError(_("It is over already."))
        return until


class AnomalyDeed(Deed):
    permission = "decide_anomaly"

    def facts(self) -> Iterable[tuple[str, str]]:
        row = self.row
        yield _("What"), str(row.get_kind_display())
        yield _("Which"), row.shown_target
        yield _("When"), wording.when(row)
        yield _("Why"), anomalies.reason(row)
        yield _("State"), str(row.get_state_display())

    def row_name(self) -> str:
        return _("alert %(number)s") % {"number": self.row.pk}

    def is_real(self, given: dict[str, Any]) -> bool | None:
        answers: dict[str, bool] = {"yes": True, "no": False}
        return answers.get(given["is_real"])


class Acknowledge(AnomalyDeed):
    name = "acknowledge"
    form_class = JudgeForm

    @classmethod
    def link_text(cls) -> str:
        return _("Acknowledge")

    @classmethod
    def is_possible(cls, row: Any) -> bool:
        return bool(row.state in (AnomalyState.OPEN, AnomalyState.MUTED))

    def button(self) -> str:
        return _("Acknowledge alert")

    def title(self) -> str:
        return _("Acknowledge alert %(number)s?") % {"number": self.row.pk}

    def lead(self) -> str:
        return _("It says that somebody looks after it, and whether it was right to tell.")

    def do(self, given: dict[str, Any], key: str) -> str:
        anomalies.acknowledge([self.row], is_real=self.is_real(given), note=given["reason"], actor=self.actor)
        return _("The alert is acknowledged.")


class Resolve(AnomalyDeed):
    name = "resolve"
    form_class = JudgeForm

    @classmethod
    def link_text(cls) -> str:
        return _("Resolve")

    @classmethod
    def is_possible(cls, row: Any) -> bool:
        return bool(row.state != AnomalyState.RESOLVED)

    def button(self) -> str:
        return _("Resolve alert")

    def title(self) -> str:
        return _("Resolve alert %(number)s?") % {"number": self.row.pk}

    def lead(self) -> str:
        return _("It is over, or explained. What begins anew later is told anew.")

    def do(self, given: dict[str, Any], key: str) -> str:
        anomalies.resolve([self.row], is_real=self.is_real(given), note=given["reason"], actor=self.actor)
        return _("The alert is resolved.")


class Mute(AnomalyDeed):
    name = "mute"
    form_class = MuteForm

    @classmethod
    def link_text(cls) -> str:
        return _("Mute")

    @classmethod
    def is_possible(cls, row: Any) -> bool:
        return bool(row.state != AnomalyState.MUTED)

    def button(self) -> str:
        return _("Mute alert")

    def title(self) -> str:
        return _("Mute alert %(number)s?") % {"number": self.row.pk}

    def lead(self) -> str:
        return _("For a while nothing more is told of the same rule and target.")

    def initial(self) -> dict[str, Any]:
        return {"until": timezone.now() + timedelta(days=7)}

    def do(self, given: dict[str, Any], key: str) -> str:
        anomalies.mute([self.row], until=given["until"], note=given["reason"], actor=self.actor)
        return _("The alert is muted.")


class Reopen(AnomalyDeed):
    name = "reopen"

    @classmethod
    def link_text(cls) -> str:
        return _("Reopen")

    @classmethod
    def is_possible(cls, row: Any) -> bool:
        return bool(row.state != AnomalyState.OPEN)

    def button(self) -> str:
        return _("Reopen alert")

    def title(self) -> str:
        return _("Reopen alert %(number)s?") % {"number": self.row.pk}

    def lead(self) -> str:
        return _("As if nobody had decided; what was said of whether it was right to tell is taken back.")

    def do(self, given: dict[str, Any], key: str) -> str:
        anomalies.reopen([self.row], note=given["reason"], actor=self.actor)
        return _("The alert is open again.")
