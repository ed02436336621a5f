"""Packages of tokens: few rows, which people edit in the stock form and choose in the list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.db.models.expressions import Combinable
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_token_pricing.admin.base.changelist import BigChangeList
from django_token_pricing.admin.base.history import EditedMixin, Part
from django_token_pricing.admin.base.importing import FilesMixin
from django_token_pricing.admin.base.markup import link
from django_token_pricing.admin.base.mixins import Link, list_url, may_view
from django_token_pricing.admin.base.paginator import MOST_COUNTED
from django_token_pricing.admin.base.wording import NOTHING, decimal, number
from django_token_pricing.admin.tokens.deed_pages import DeedsMixin
from django_token_pricing.admin.tokens.forms import PackageForm, PriceForm, PricesFormSet
from django_token_pricing.admin.tokens.lists import TokensAdmin
from django_token_pricing.admin.tokens.package_deeds import (
    MOST_CHOSEN,
    ChosenPackages,
    DeleteChosen,
    DeletePackage,
    SwitchOff,
    SwitchOn,
)
from django_token_pricing.admin.tokens.package_files import ConfirmForm, PackageResource
from django_token_pricing.lib.money import plain
from django_token_pricing.models import Purchase, TokenPackage, TokenPackagePrice

if TYPE_CHECKING:
    # Django's classes take parameters in their stubs alone.
    PricesTable = admin.TabularInline[TokenPackagePrice, TokenPackage]
else:
    PricesTable = admin.TabularInline

CHOSEN: list[type[ChosenPackages]] = [SwitchOn, SwitchOff, DeleteChosen]


class PackageList(BigChangeList):
    """In the order in which customers see them."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str | Combinable]:
        return ["place", "code"]


class PricesInline(PricesTable):
    """Prices are a part of their package: who may see or change that may see or change these."""

    model = TokenPackagePrice
    form = PriceForm
    formset = PricesFormSet
    template = "django_token_pricing/admin/tokens/prices.html"
    verbose_name = _("price")
    extra = 1

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("django_token_pricing.view_tokenpackage")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        deed = "add" if obj is None else "change"
        return request.user.has_perm(f"django_token_pricing.{deed}_tokenpackage")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj)


@admin.register(TokenPackage)
class TokenPackageAdmin(FilesMixin, EditedMixin, DeedsMixin, TokensAdmin):
    resource_classes = [PackageResource]
    confirm_form_class = ConfirmForm
    changelist = PackageList
    # All are counted: they are few.
    paginator = Paginator  # type: ignore[assignment]
    form = PackageForm
    inlines = [PricesInline]
    deeds = [DeletePackage]
    deeds_name = "packages"
    history_parts = [
        Part(
            TokenPackagePrice,
            lambda package: TokenPackagePrice.history.filter(package=package.pk),
            lambda version: _("Price in %(currency)s") % {"currency": version.currency},
            hidden=("package",),
        ),
    ]
    actions = ["switch_on", "switch_off", "delete_selected"]  # type: ignore[assignment]
    list_display = [
        "name",
        "code",
        "amount_text",
        "validity",
        "prices",
        "priority",
        "most_per_user",
        "is_active",
        "place",
    ]
    list_filter = ["is_active"]
    parameters = ["is_active"]
    search_fields = ["name"]
    search_help_text = _("Name or code of the package from its first letters")
    prepopulated_fields = {"code": ["name"]}

    def described(self, queryset: QuerySet[Any]) -> Any:
        return queryset.prefetch_related("prices")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        found = Q(name__istartswith=term) | Q(code__istartswith=term)
        return (queryset.filter(found) if term else queryset), False

    # The stock form

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._may(request, "add")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may(request, "change")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may(request, "delete")

    def _may(self, request: HttpRequest, deed: str) -> bool:
        return self.has_view_permission(request) and request.user.has_perm(f"django_token_pricing.{deed}_tokenpackage")

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        fieldsets: list[Any] = [
            (None, {"fields": ["name", "code", "description"]}),
            (_("What the customer gets"), {"fields": ["tokens", "validity_days", "priority"]}),
            (_("Sale"), {"fields": ["per_user", "is_active", "place", *self._shown_of(request, obj)]}),
        ]
        if self.has_add_permission(request) if obj is None else self.has_change_permission(request, obj):
            fieldsets.append((_("Why"), {"fields": ["reason"], "classes": ["tp-last"]}))
        return fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        return self._shown_of(request, obj)

    def _shown_of(self, request: HttpRequest, obj: Model | None) -> list[str]:
        """What the form shows of a package that is there: how often it was bought."""
        return ["sold"] if obj is not None and may_view(self.admin_site, request, Purchase) else []

    def tools(self, request: HttpRequest, row: Any) -> list[Link]:
        tools = super().tools(request, row)
        if may_view(self.admin_site, request, Purchase):
            tools.insert(0, Link(str(_("Purchases")), list_url(self.admin_site, Purchase, package=row.pk)))
        return tools

    def part_facts(self, row: Any) -> dict[str, Any]:
        prices = TokenPackagePrice.objects.filter(package=row)
        return {f"prices.{price.currency}": plain(price.amount) for price in prices}

    def deed_links(self, request: HttpRequest, row: Any) -> list[Link]:
        """None: the stock form has a link to the page on which it is deleted."""
        return []

    # Chosen in the list

    def get_urls(self) -> list[URLPattern]:
        return [
            path(
                f"{deed.name}/",
                self.admin_site.admin_view(self.chosen_view),
                {"deed": deed},
                name=self._chosen_name(deed),
            )
            for deed in CHOSEN
        ] + super().get_urls()

    def chosen_view(self, request: HttpRequest, deed: type[ChosenPackages]) -> HttpResponse:
        if not self._may(request, deed.permission.partition("_")[0]):
            raise PermissionDenied
        return deed(self.admin_site, request).view()

    def _chosen_name(self, deed: type[ChosenPackages]) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{deed.name.replace('-', '_')}"

    def _chosen(self, deed: type[ChosenPackages], queryset: QuerySet[Any]) -> HttpResponse:
        url = reverse(f"admin:{self._chosen_name(deed)}", current_app=self.admin_site.name)
        keys = queryset.order_by().values_list("pk", flat=True)[:MOST_CHOSEN]
        return HttpResponseRedirect(f"{url}?{urlencode({'rows': ','.join(map(str, keys))})}")

    @admin.action(description=_("Switch on…"), permissions=["change"])
    def switch_on(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        return self._chosen(SwitchOn, queryset)

    @admin.action(description=_("Switch off…"), permissions=["change"])
    def switch_off(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        return self._chosen(SwitchOff, queryset)

    @admin.action(description=_("Delete…"), permissions=["delete"])
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Takes the place of the site's own, which asks for no reason."""
        return self._chosen(DeleteChosen, queryset)

    # Columns

    @admin.display(description=_("bought"))
    def sold(self, row: Any) -> SafeString | str:
        found = Purchase.objects.filter(package=row.pk).order_by().values("pk")[: MOST_COUNTED + 1].count()
        words = ngettext("%(count)s time", "%(count)s times", found)
        if found > MOST_COUNTED:
            found, words = MOST_COUNTED, gettext("more than %(count)s times")
        text = words % {"count": number(found)}
        return link(list_url(self.admin_site, Purchase, package=row.pk), text) if found else text

    @admin.display(description=_("tokens"))
    def amount_text(self, row: Any) -> str:
        return number(row.tokens)

    @admin.display(description=_("validity"))
    def validity(self, row: Any) -> str:
        if row.validity_days is None:
            return str(_("No end"))
        days = ngettext("%(count)s day", "%(count)s days", row.validity_days)
        return days % {"count": number(row.validity_days)}

    @admin.display(description=_("prices"))
    def prices(self, row: Any) -> SafeString | str:
        texts = [(f"{price.currency} {decimal(price.amount)}",) for price in row.prices.all()]
        return format_html_join(mark_safe("<br>"), "{}", texts) or NOTHING

    @admin.display(description=_("per user"))
    def most_per_user(self, row: Any) -> str:
        return NOTHING if row.per_user is None else number(row.per_user)
