"""The price list: what models cost and weigh, from when on; each change with a reason, made by the domain's verbs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db.models import F, Model, Q, QuerySet, Subquery
from django.db.models.expressions import Combinable
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_token_pricing import analytics, conf, tokens
from django_token_pricing.admin.analytics.prices_deeds import RemovePrice
from django_token_pricing.admin.analytics.prices_filters import ProviderFilter, StateFilter, later
from django_token_pricing.admin.analytics.prices_form import ModelPriceForm
from django_token_pricing.admin.analytics.prices_import import ImportPrices
from django_token_pricing.admin.analytics.prices_pages import LONGEST_NAME, amount, breakable
from django_token_pricing.admin.analytics.prices_repricing import Reprice
from django_token_pricing.admin.analytics.section import NAME, may, page_url, tabs
from django_token_pricing.admin.base.changelist import BigChangeList
from django_token_pricing.admin.base.history import HistoryMixin
from django_token_pricing.admin.base.markup import badge
from django_token_pricing.admin.base.mixins import Link, ReadOnlyAdmin
from django_token_pricing.admin.base.parts import Note
from django_token_pricing.admin.base.wording import NOTHING, day, decimal, moment, number
from django_token_pricing.admin.limits.filters import titled
from django_token_pricing.admin.tokens.deed_pages import DeedsMixin
from django_token_pricing.exceptions import TokenPricingError
from django_token_pricing.models import ModelPrice

# Models without a price are looked for in so many days.
UNPRICED_DAYS = 90
MOST_UNPRICED = 10


class PriceList(BigChangeList):
    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str | Combinable]:
        return ["model", "provider", F("starts_at").desc()]


@admin.register(ModelPrice)
class ModelPriceAdmin(HistoryMixin, DeedsMixin, ReadOnlyAdmin):
    changelist = PriceList
    paginator = Paginator  # type: ignore[assignment]
    form = ModelPriceForm
    deeds = [RemovePrice]
    section_name = NAME
    change_list_template = "django_token_pricing/admin/analytics/prices.html"
    list_display = ["name", "state", "valid", "paid", "cached", "weighs"]
    list_filter = [StateFilter, ProviderFilter, ("source", titled(_("origin")))]
    parameters = ["state", "provider", "source"]
    search_fields = ["model"]
    search_help_text = _("Name of the model from its first letters")

    # Who may what

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._may(request, "add")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may(request, "change")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may(request, "delete")

    def _may(self, request: HttpRequest, deed: str) -> bool:
        return self.has_view_permission(request) and may(request, f"{deed}_modelprice")

    # The list

    def tabs(self, request: HttpRequest) -> list[Link]:
        return tabs(self.admin_site, request, "prices")

    def described(self, queryset: QuerySet[Any]) -> Any:
        return queryset.annotate(ends_at=Subquery(later().order_by("starts_at").values("starts_at")[:1]))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(Q(model__istartswith=term)) if term else queryset), False

    def list_tools(self, request: HttpRequest) -> list[Link]:
        found = []
        if Reprice.is_open_to(self, request):
            found.append(Link(gettext("Work costs out anew"), page_url(self.admin_site, "modelprice_reprice")))
        if ImportPrices.is_open_to(self, request):
            found.append(Link(gettext("Import prices"), page_url(self.admin_site, "modelprice_import")))
        return found

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {
            "notes": list(self.notes(request)),
            "unpriced": self.unpriced(request),
            "unpriced_days": UNPRICED_DAYS,
            "currency": conf.current().DEFAULT_CURRENCY,
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    def notes(self, request: HttpRequest) -> Iterable[Note]:
        state = analytics.rollup_state()
        if state is not None and state.prices_changed_from is not None:
            words = gettext(
                "Prices of uses from %(moment)s on were changed afterwards; their costs are not brought up yet."
            )
            url = page_url(self.admin_site, "modelprice_reprice") if Reprice.is_open_to(self, request) else ""
            yield Note(
                "warn",
                gettext("Costs are older than the price list."),
                words % {"moment": moment(state.prices_changed_from)},
                url,
                gettext("Work them out anew"),
            )

    def unpriced(self, request: HttpRequest) -> dict[str, Any] | None:
        """Models in use without a price, with the way to give them one."""
        found = analytics.models_without_price(analytics.today() - timedelta(days=UNPRICED_DAYS))
        if not found:
            return None
        add = page_url(self.admin_site, "modelprice_add") if self.has_add_permission(request) else ""
        rows = []
        for row in found[:MOST_UNPRICED]:
            words = ngettext("%(count)s use", "%(count)s uses", row.uses) % {"count": number(row.uses)}
            given = urlencode({"model": row.model, "starts_at": row.first.isoformat()})
            is_too_late = row.priced_from is not None and row.priced_from > row.first
            why = ""
            if is_too_late:
                why = gettext("before its price began")
            elif row.priced_from is not None:
                why = gettext("without counts of tokens, or of a provider that has no price")
            rows.append(
                {
                    "name": Truncator(row.model).chars(LONGEST_NAME) or gettext("No model named"),
                    "uses": words,
                    "days": day(row.first) if row.first == row.last else f"{day(row.first)} – {day(row.last)}",
                    "url": f"{add}?{given}" if add and row.model and (is_too_late or not why) else "",
                    "why": why,
                }
            )
        more = len(found) - len(rows)
        return {"rows": rows, "more": number(more) if more > 0 else ""}

    # The form

    def get_urls(self) -> list[URLPattern]:
        prefix = f"{self.opts.app_label}_{self.opts.model_name}"
        wrap = self.admin_site.admin_view
        return [
            path("import/", wrap(ImportPrices.as_view(model_admin=self)), name=f"{prefix}_import"),
            path("reprice/", wrap(Reprice.as_view(model_admin=self)), name=f"{prefix}_reprice"),
            *super().get_urls(),
        ]

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        currency = conf.current().DEFAULT_CURRENCY
        prices = ["input", "output", "cached_read", "cached_write", "reasoning"]
        fieldsets: list[Any] = [
            (_("Which model, and from when on"), {"fields": ["model", "provider", "starts_at"]}),
            (
                gettext("What the provider charges for a million tokens, in %(currency)s") % {"currency": currency},
                {"fields": [tuple(prices[:2]), tuple(prices[2:4]), prices[4]]},
            ),
            (
                _("How many of our tokens one of the provider's is"),
                {
                    "fields": [
                        ("weight_input", "weight_output"),
                        ("weight_cached_read", "weight_cached_write"),
                        "weight_reasoning",
                    ]
                },
            ),
        ]
        if self.has_add_permission(request) if obj is None else self.has_change_permission(request, obj):
            fieldsets.append((_("Why"), {"fields": ["reason"], "classes": ["tp-last"]}))
        return fieldsets

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """A model, and the day of its first use without a price, as the links of the list give them."""
        found: dict[str, Any] = {"model": request.GET.get("model", "")[:200]}
        try:
            first = datetime.fromisoformat(request.GET.get("starts_at", ""))
            if first.tzinfo is None:
                found["starts_at"] = first.replace(tzinfo=analytics.zone())
        except ValueError:
            pass
        return found

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"tabs": self.tabs(request), "section_name": self.section_name, **(extra_context or {})}
        return super().add_view(request, form_url, context)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except TokenPricingError as error:
            # Somebody was faster than the form's own check.
            messages.error(request, error.message)
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        actor: Any = request.user
        price = ModelPrice.objects.get(pk=obj.pk) if change else None
        saved = tokens.set_price(**form.values(), reason=form.cleaned_data["reason"], actor=actor, price=price)
        obj.pk, obj.starts_at = saved.pk, saved.starts_at
        obj._state.adding = False

    def deed_links(self, request: HttpRequest, row: Any) -> list[Link]:
        """None: the stock form has a link to the page on which it is deleted."""
        return []

    def history_title(self, row: Any) -> str:
        facts = {"model": Truncator(row.model).chars(LONGEST_NAME), "moment": moment(row.starts_at)}
        return gettext("%(model)s from %(moment)s") % facts

    # Columns

    @admin.display(description=_("model"))
    def name(self, row: Any) -> SafeString:
        name = breakable(Truncator(row.model).chars(LONGEST_NAME))
        if not row.provider:
            return name
        return format_html('{}<br><span class="quiet">{}</span>', name, row.provider)

    @admin.display(description=_("state"))
    def state(self, row: Any) -> SafeString:
        now = timezone.now()
        if row.starts_at > now:
            return badge("info", gettext("Scheduled"))
        if row.ends_at is not None and row.ends_at <= now:
            return badge("idle", gettext("Ended"))
        return badge("ok", gettext("Valid"))

    @admin.display(description=_("valid"))
    def valid(self, row: Any) -> SafeString | str:
        """In days; the form has the moment."""
        if row.ends_at is None:
            return gettext("from %(day)s") % {"day": day(row.starts_at)}
        return format_html("{} –<br>{}", day(row.starts_at), day(row.ends_at))

    @admin.display(description=_("input / output"))
    def paid(self, row: Any) -> SafeString | str:
        if row.input is None:
            return badge("warn", gettext("Not known"))
        return f"{amount(row.input)} / {amount(row.output)}"

    @admin.display(description=_("cached / kept"))
    def cached(self, row: Any) -> str:
        if row.cached_read is None and row.cached_write is None:
            return NOTHING
        return f"{amount(row.cached_read)} / {amount(row.cached_write)}"

    @admin.display(description=_("weights"))
    def weighs(self, row: Any) -> str:
        """Of input and output; the form has all of them."""
        return f"{_weight(row.weight_input)} / {_weight(row.weight_output)}"


def _weight(value: Any) -> str:
    if value is None or value == value.to_integral_value():
        return number(1 if value is None else int(value))
    return decimal(value)
