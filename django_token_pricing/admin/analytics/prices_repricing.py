"""Working costs out anew: choose months, look at the dry run of the job, confirm it there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar
from uuid import uuid4

from django import forms
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.functional import cached_property
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_token_pricing import analytics, conf
from django_token_pricing.admin.analytics.prices_pages import PricePage
from django_token_pricing.admin.analytics.section import may
from django_token_pricing.admin.base.mixins import object_url
from django_token_pricing.admin.base.parts import Card, Note
from django_token_pricing.admin.base.wording import MINUS, moment, money, month, number
from django_token_pricing.admin.jobs.panels import Panel, register
from django_token_pricing.admin.tokens.forms import KeyForm
from django_token_pricing.analytics.repricing import KIND, MOST_MONTHS, months
from django_token_pricing.analytics.rollups.state import next_month
from django_token_pricing.exceptions import TokenPricingError
from django_token_pricing.models import Job


class MonthsForm(KeyForm):
    first = forms.TypedChoiceField(label=gettext_lazy("From"), coerce=date.fromisoformat)
    last = forms.TypedChoiceField(label=gettext_lazy("To the end of"), coerce=date.fromisoformat)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(each.isoformat(), month(each)) for each in reversed(analytics.repriceable_months())]
        for name in ("first", "last"):
            field: Any = self.fields[name]
            field.choices = choices

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if given.get("first") and given.get("last") and given["last"] < given["first"]:
            self.add_error("last", _("It ends before it begins."))
        return given


class Reprice(PricePage):
    permissions: ClassVar[tuple[str, ...]] = ("change_modelprice", "view_costs")
    template: ClassVar[str] = "django_token_pricing/admin/tokens/deed.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        first, until = analytics.months_to_reprice()
        initial = {"key": uuid4(), "first": first.isoformat(), "last": months(first, until)[-1].isoformat()}
        return self.draw(MonthsForm(initial=initial))

    def post(self, request: HttpRequest) -> HttpResponse:
        form = MonthsForm(request.POST)
        if form.is_valid():
            given = form.cleaned_data
            try:
                until = next_month(given["last"])
                job = analytics.ask_repricing(given["first"], until, actor=request.user, key=given["key"])
            except TokenPricingError as error:
                form.add_error(None, error.message)
            else:
                url = object_url(self.model_admin.admin_site, Job, job.pk)
                return HttpResponseRedirect(url or self.back())
        return self.draw(form)

    def draw(self, form: MonthsForm) -> HttpResponse:
        state = analytics.rollup_state()
        since = None if state is None else state.prices_changed_from
        facts = [
            (_("Prices changed"), _("for uses from %(moment)s on") % {"moment": moment(since)} if since else _("no")),
            (_("Figures as of"), moment(state.folded_at) if state and state.folded_at else _("never")),
            (_("At most"), ngettext("%(count)s month", "%(count)s months", MOST_MONTHS) % {"count": MOST_MONTHS}),
        ]
        return self.page(
            _("Work costs out anew"),
            form=form,
            lead=_(
                "Costs of whole months at the price list of now. First a worker only compares: you see what would"
                " change, by model, and confirm it there."
            ),
            facts=facts,
            button=_("Compare"),
            zone=str(analytics.zone()),
        )


@register(KIND)
class RepricePanel(Panel):
    """The dry run by model. Costs are for those who may see them; the months are for all."""

    preview_template: ClassVar[str] = "django_token_pricing/admin/analytics/prices_repricing.html"
    course_template: ClassVar[str] = "django_token_pricing/admin/analytics/prices_repricing.html"

    def question(self) -> str:
        return _("Take these costs over?")

    def lead(self) -> str:
        return _("Nothing has been changed yet. These months are worked out anew, month by month, once you confirm.")

    def button(self) -> str:
        return _("Take costs over")

    def undoing(self) -> str:
        return _("To go back, change the prices back and work the months out again.")

    def preparing(self) -> str:
        return _("The uses of these months are added up at the prices of now. Nothing is changed.")

    def counted(self, count: int) -> str:
        return ngettext("%(count)s month", "%(count)s months", count) % {"count": number(count)}

    def row_heading(self) -> str:
        return _("Month")

    @property
    def currency(self) -> str:
        return conf.current().DEFAULT_CURRENCY

    @property
    def may_view_costs(self) -> bool:
        return may(self.request, "view_costs")

    @cached_property
    def whole(self) -> analytics.Repriced | None:
        stored = self.job.preview.get("whole")
        return analytics.Repriced.of(stored) if stored else None

    def cards(self) -> Iterable[Card]:
        return self._cards(_("Cost as shown"), _("Cost at the price list"), _("vs as shown"))

    def results(self) -> Iterable[Card]:
        return self._cards(_("Cost before"), _("Cost at the price list"), _("vs before"))

    def _cards(self, before: str, after: str, against: str) -> Iterator[Card]:
        whole = self.whole
        if whole is None:
            return
        if self.may_view_costs:
            yield Card(before, money(whole.before, self.currency))
            yield Card(
                after,
                money(whole.after, self.currency),
                strong=_difference(whole.after - whole.before, self.currency),
                note=against,
            )
        yield Card(
            _("Uses without a cost"),
            number(whole.unpriced_after),
            note=_("%(count)s before") % {"count": number(whole.unpriced_before)},
        )
        changed = number(self.job.preview["changed"])
        models = self.job.preview["models"]
        words = ngettext("of %(count)s model", "of %(count)s models", models)
        yield Card(_("Models that change"), changed, note=words % {"count": number(models)})

    def facts(self) -> Iterable[tuple[str, str]]:
        wanted = months(*(date.fromisoformat(self.job.params[name]) for name in ("first", "until")))
        names = [month(each) for each in (wanted[0], wanted[-1])]
        yield _("Months"), names[0] if len(wanted) == 1 else f"{names[0]} – {names[1]}"

    def notes(self) -> Iterable[Note]:
        whole = self.whole
        if whole is not None and not self.job.preview["changed"]:
            yield Note("info", _("Nothing would change."), _("The costs are those of the price list."))
        if whole is not None and whole.unpriced_after:
            yield Note(
                "warn",
                _("Some uses stay without a cost."),
                _("Their models have no price for then, or they came without counts of tokens."),
            )

    def lines(self) -> list[dict[str, str]]:
        found = [analytics.Repriced.of(stored) for stored in self.job.preview.get("lines", [])]
        return [
            {
                "model": Truncator(line.model).chars(80) or _("No model named"),
                "before": money(line.before, self.currency),
                "after": money(line.after, self.currency),
                "difference": _difference(line.after - line.before, self.currency),
                "unpriced": number(line.unpriced_after),
                "unpriced_before": number(line.unpriced_before) if line.unpriced_before != line.unpriced_after else "",
            }
            for line in found
        ]

    def left_off(self) -> str:
        more = self.job.preview.get("changed", 0) - len(self.job.preview.get("lines", []))
        return number(more) if more > 0 else ""


def _difference(value: Decimal, currency: str) -> str:
    text = money(abs(value), currency)
    if not round(value, 6):
        return f"±{text}"
    return f"{'+' if value > 0 else MINUS}{text}"
