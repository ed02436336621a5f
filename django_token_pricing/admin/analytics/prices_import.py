"""Importing published prices: choose providers, look at what is new or changed, tick, save with one reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_token_pricing import analytics, conf, tokens
from django_token_pricing.admin.analytics.prices_pages import PricePage, amount, breakable
from django_token_pricing.admin.base.wording import number
from django_token_pricing.admin.tokens.forms import MomentInput, reason_field
from django_token_pricing.choices import PriceSource
from django_token_pricing.exceptions import TokenPricingError
from django_token_pricing.models import ModelPrice
from django_token_pricing.tokens import prices

USED_DAYS = 90
# So many fit a page and a form.
MOST_ROWS = 400
KINDS = ("input", "output", "cached_read", "cached_write", "reasoning")


class ChooseForm(forms.Form):
    """Which prices to look at."""

    publisher = forms.MultipleChoiceField(label=gettext_lazy("Providers"), widget=forms.CheckboxSelectMultiple)
    which = forms.ChoiceField(
        label=gettext_lazy("Models"),
        choices=[("used", gettext_lazy("Those in use")), ("all", gettext_lazy("All that have a price"))],
        initial="used",
    )
    target = forms.ChoiceField(
        label=gettext_lazy("Valid for usage of"),
        choices=[("any", gettext_lazy("any provider")), ("named", gettext_lazy("that provider alone"))],
        initial="any",
        help_text=gettext_lazy("The second needs uses that name their provider, as tokens.meter can."),
    )

    def __init__(self, data: Any, publishers: Sequence[prices.Publisher]) -> None:
        super().__init__(data)
        field: Any = self.fields["publisher"]
        field.choices = [(each.code, f"{each.name} ({number(each.models)})") for each in publishers]


class SaveForm(forms.Form):
    """When the ticked ones begin to be valid, and why."""

    starts_at = forms.DateTimeField(label=gettext_lazy("Valid from"), required=False, widget=MomentInput)
    reason = reason_field()

    def __init__(self, data: Any = None) -> None:
        super().__init__(data)
        words = _("Empty: from now on. In %(zone)s.")
        self.fields["starts_at"].help_text = words % {"zone": timezone.get_current_timezone_name()}


@dataclass(frozen=True, slots=True)
class Line:
    """A model on the page: what is published, beside what the list has."""

    key: str
    name: str
    publisher: str
    state: str
    word: str
    kinds: list[tuple[str, str]]
    is_tiered: bool
    is_ticked: bool
    price: tokens.NewPrice

    @property
    def shown(self) -> str:
        return breakable(self.name)

    @property
    def can_be_saved(self) -> bool:
        return self.state != "idle"


class ImportPrices(PricePage):
    permissions: ClassVar[tuple[str, ...]] = ("add_modelprice", "change_modelprice")
    template: ClassVar[str] = "django_token_pricing/admin/analytics/prices_import.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.draw(SaveForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = SaveForm(request.POST)
        if self.problem or not self.choice.is_valid():
            return self.draw(form)
        ticked = set(request.POST.getlist("row"))
        chosen = [line.price for line in self.lines if line.key in ticked and line.can_be_saved]
        if not chosen:
            form.add_error(None, _("Tick at least one model."))
        if form.is_valid():
            given = form.cleaned_data
            actor: Any = request.user
            try:
                changed = tokens.set_prices(
                    chosen,
                    starts_at=given["starts_at"],
                    source=PriceSource.GENAI_PRICES,
                    reason=given["reason"],
                    actor=actor,
                )
            except TokenPricingError as error:
                form.add_error(None, error.message)
            else:
                words = ngettext("%(count)s price was saved.", "%(count)s prices were saved.", changed)
                messages.success(request, words % {"count": number(changed)})
                return HttpResponseRedirect(self.back())
        return self.draw(form, ticked=ticked)

    def draw(self, form: SaveForm, ticked: set[str] | None = None) -> HttpResponse:
        has_lines = not self.problem and self.choice.is_bound and self.choice.is_valid()
        lines = self.lines if has_lines else []
        counts = {state: sum(line.state == state for line in lines) for state in ("ok", "info", "idle")}
        return self.page(
            _("Import prices"),
            choice=None if self.problem else self.choice,
            problem=self.problem,
            form=form,
            has_lines=has_lines,
            lines=[(line, line.key in ticked if ticked is not None else line.is_ticked) for line in lines],
            counts={state: number(count) for state, count in counts.items()},
            left_off=number(self.found - len(lines)) if has_lines and self.found > len(lines) else "",
            used_days=USED_DAYS,
            currency=conf.current().DEFAULT_CURRENCY,
            is_other_currency=conf.current().DEFAULT_CURRENCY != "USD",
        )

    @cached_property
    def publishers(self) -> list[prices.Publisher] | str:
        try:
            return prices.publishers()
        except TokenPricingError as error:
            return error.message

    @property
    def problem(self) -> str:
        return self.publishers if isinstance(self.publishers, str) else ""

    @cached_property
    def choice(self) -> ChooseForm:
        given = self.request.GET
        return ChooseForm(given if "publisher" in given or "which" in given else None, self.publishers)  # type: ignore[arg-type]

    @cached_property
    def used(self) -> list[str]:
        return analytics.models_in_use(analytics.today() - timedelta(days=USED_DAYS))

    @cached_property
    def all_lines(self) -> list[Line]:
        given = self.choice.cleaned_data
        now = timezone.now()
        found = prices.published(given["publisher"], as_of=now, models=self.used, has_all=given["which"] == "all")
        used = set(self.used)
        rows: dict[tuple[str, str], prices.Published] = {}
        for each in found:
            # For any provider a model has one price: of the provider that is named first.
            provider = each.publisher if given["target"] == "named" else ""
            rows.setdefault((each.price.model, provider), each)
        known = _valid(list(rows), now)
        return [_line(each, place, known.get(place), is_used=each.price.model in used) for place, each in rows.items()]

    @property
    def found(self) -> int:
        return len(self.all_lines)

    @property
    def lines(self) -> list[Line]:
        """Models in use first, and what would change before what would not."""
        order = {"info": 0, "ok": 1, "idle": 2}
        found = sorted(
            self.all_lines, key=lambda line: (not line.is_ticked, order[line.state], line.publisher, line.name)
        )
        return found[:MOST_ROWS]


def _valid(places: Sequence[tuple[str, str]], now: datetime) -> dict[tuple[str, str], ModelPrice]:
    """The rows that are valid now, by model and provider, in one query."""
    models = [model for model, _provider in places]
    rows = ModelPrice.objects.filter(model__in=models, starts_at__lte=now).order_by("starts_at")
    return {(row.model, row.provider): row for row in rows}


def _line(each: prices.Published, place: tuple[str, str], row: ModelPrice | None, *, is_used: bool) -> Line:
    price = tokens.NewPrice(**{**each.price.values(), "provider": place[1]})
    kinds = []
    is_same = row is not None
    for name in KINDS:
        new: Decimal | None = getattr(price, name)
        old: Decimal | None = None if row is None else getattr(row, name)
        is_same = is_same and new == old
        before = amount(old) if old is not None and new != old else ""
        kinds.append((before, amount(new)))
    state, word = ("idle", _("As it is")) if is_same else ("info", _("Changed")) if row else ("ok", _("New"))
    return Line(
        key=f"{each.publisher}:{price.model}",
        name=Truncator(price.model).chars(80),
        publisher=each.publisher,
        state=state,
        word=word,
        kinds=kinds,
        is_tiered=each.is_tiered,
        is_ticked=is_used and not is_same,
        price=price,
    )
