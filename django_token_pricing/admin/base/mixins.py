"""What our admin classes are made of: nobody changes anything here, and the tabs lead through the section."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.admin import AdminSite, ModelAdmin, ShowFacets
from django.contrib.admin.utils import quote, unquote
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.text import capfirst

from django_token_pricing.admin.base.changelist import BigChangeList
from django_token_pricing.admin.base.paginator import CappedPaginator
from django_token_pricing.admin.base.wording import NOTHING

if TYPE_CHECKING:
    # Django's classes take parameters in their stubs alone.
    AnyModelAdmin = ModelAdmin[Any]
else:
    AnyModelAdmin = ModelAdmin


@dataclass(frozen=True, slots=True)
class Link:
    """A tab or an object tool."""

    text: str
    url: str
    is_current: bool = False
    is_adding: bool = False


def may_view(site: AdminSite, request: HttpRequest, model: type[Model]) -> bool:
    """Whether this site lists the model and this person may look at it."""
    model_admin = site._registry.get(model)
    return model_admin is not None and model_admin.has_view_permission(request)


def list_url(site: AdminSite, model: type[Model], **filters: Any) -> str:
    opts = model._meta
    url = reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist", current_app=site.name)
    return f"{url}?{urlencode(filters)}" if filters else url


def object_url(site: AdminSite, model: type[Model], pk: Any) -> str:
    """The page of a row; "" on a site that does not have such pages."""
    if not site.is_registered(model):
        return ""
    opts = model._meta
    return reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=(quote(pk),), current_app=site.name)


def tabs(
    site: AdminSite, request: HttpRequest, section: Sequence[tuple[type[Model], Any]], current: type[Model]
) -> list[Link]:
    """The pages of a section that exist on this site and that this person may see."""
    return [
        Link(str(name), list_url(site, model), is_current=model is current)
        for model, name in section
        if may_view(site, request, model)
    ]


class ReadOnlyAdmin(AnyModelAdmin):
    """Looking only, for superusers too: the ledger's rows change by verbs, and mirrors by the host."""

    actions = None
    ordering = ["-pk"]
    sortable_by: ClassVar[tuple[str, ...]] = ()
    list_per_page = 50
    list_max_show_all = 0
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    paginator = CappedPaginator
    empty_value_display = NOTHING
    change_list_template = "django_token_pricing/admin/change_list.html"
    change_form_template = "django_token_pricing/admin/change_form.html"

    changelist: ClassVar[type[BigChangeList]] = BigChangeList
    # The section's pages, as (model, name of the tab).
    section: Sequence[tuple[type[Model], Any]] = ()
    section_name: Any = ""
    # Parameters that scope filters take.
    scopes: Sequence[str] = ()
    # Other parameters that the list's filters take.
    parameters: Sequence[str] = ()

    class Media:
        css = {"all": ["django_token_pricing/css/tp.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Only who may view: in stock admin, who may change may look as well."""
        opts = self.opts
        return request.user.has_perm(f"{opts.app_label}.view_{opts.model_name}")

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Nothing but what the filters offer: any other look-up in the URL could scan the whole table."""
        name, _separator, how = lookup.partition("__")
        return name in {*self.scopes, *self.parameters} and how in ("", "exact")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BigChangeList]:
        return self.changelist

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(
            request,
            {
                "title": capfirst(str(self.opts.verbose_name_plural)),
                "tabs": self.tabs(request),
                "section_name": self.section_name,
                "list_tools": self.list_tools(request),
                **(extra_context or {}),
            },
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        context = {
            "tabs": self.tabs(request),
            "section_name": self.section_name,
            "tools": [] if row is None else [*self.tools(request, row), *self.deed_links(request, row)],
            **(extra_context or {}),
        }
        return super().change_view(request, object_id, form_url, context)

    def described(self, queryset: QuerySet[Any]) -> Any:
        """With what the columns show of other tables. Counting and finding the page do without."""
        return queryset

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        """Put onto the rows of one page what their columns show beyond that, in a constant number of queries."""

    def loaded(self, request: HttpRequest, page: QuerySet[Any]) -> list[Any]:
        """The rows of one page as the list shows them.

        In two steps: joined in one, a database sorts all rows of a filter with their neighbours before it takes fifty.
        """
        keys = list(page.values_list("pk", flat=True))
        rows = {row.pk: row for row in self.described(self.model._default_manager.filter(pk__in=keys))}
        found = [rows[key] for key in keys if key in rows]
        self.prepare(request, found)
        return found

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        row = super().get_object(request, object_id, from_field)
        return row and next(iter(self.loaded(request, self.get_queryset(request).filter(pk=row.pk))), None)

    def tabs(self, request: HttpRequest) -> list[Link]:
        return tabs(self.admin_site, request, self.section, self.model)

    def list_tools(self, request: HttpRequest) -> list[Link]:
        """Links beside the title of the list."""
        return []

    def tools(self, request: HttpRequest, row: Any) -> list[Link]:
        """Links beside the title of a row's page."""
        return []

    def deed_links(self, request: HttpRequest, row: Any) -> list[Link]:
        """Beside them, what this person can do at the row now."""
        return []
