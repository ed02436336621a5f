"""Accounts as a list, and the deeds done at one. An account has a page of its own (views.py)."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_token_pricing.admin.base.exports import ExportMixin
from django_token_pricing.admin.base.markup import badge
from django_token_pricing.admin.base.mixins import ReadOnlyAdmin
from django_token_pricing.admin.base.wording import NOTHING, day, number
from django_token_pricing.admin.tokens import owners
from django_token_pricing.admin.tokens.account_analytics import AccountAnalytics
from django_token_pricing.admin.tokens.account_list import AccountList
from django_token_pricing.admin.tokens.boosts import Boost
from django_token_pricing.admin.tokens.bulk import BulkMixin
from django_token_pricing.admin.tokens.deed_pages import DeedsMixin
from django_token_pricing.admin.tokens.deeds import Grant, SetBalance, Subtract
from django_token_pricing.admin.tokens.exports import BalancesExport
from django_token_pricing.admin.tokens.filters import (
    ExpiringFilter,
    MemberOfFilter,
    NeverUsedFilter,
    OwnerFilter,
    StateFilter,
    TierFilter,
)
from django_token_pricing.admin.tokens.lists import HELP, BalanceColumns, TokensAdmin
from django_token_pricing.admin.tokens.views import AccountPage
from django_token_pricing.models import (
    TokenAccount,
)
from django_token_pricing.tokens.balances import own_balances


@admin.register(TokenAccount)
class TokenAccountAdmin(BulkMixin, ExportMixin, DeedsMixin, BalanceColumns, TokensAdmin):
    deeds = [Boost, SetBalance, Subtract, Grant]
    export = BalancesExport
    changelist = AccountList
    change_list_template = "django_token_pricing/admin/tokens/account_list.html"
    list_display = [
        "owner",
        "tier_name",
        "available",
        "held",
        "granted_month",
        "used_month",
        "next_expiry",
        "last_use",
    ]
    sortable_by = ("available", "granted_month", "used_month", "next_expiry", "last_use")
    list_filter = [MemberOfFilter, StateFilter, ExpiringFilter, NeverUsedFilter, TierFilter, OwnerFilter]
    search_fields = ["pk"]
    search_help_text = HELP
    scopes = ["member_of"]
    parameters = ["owner", "state", "expiring", "used", "tier"]

    def described(self, queryset: QuerySet[Any]) -> Any:
        return owners.with_owner(queryset, "").annotate(
            month_granted=F("summary__granted"), month_used=F("summary__used"), last_used_at=F("summary__last_used_at")
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        found = owners.find_accounts(term)
        found.tell(request, term)
        return queryset.filter(pk__in=found.accounts), False

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        balances = own_balances(rows)
        for row in rows:
            row.live = balances[row]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The account's page instead of a form."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        account = self._whole(request, object_id)
        if account is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return, attr-defined]
        return AccountPage(self, request, account).response(extra_context)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.analytics_view)
        route = f"{self.opts.app_label}_{self.opts.model_name}_analytics"
        return [path("<path:object_id>/analytics/", view, name=route), *super().get_urls()]

    def analytics_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """When the account uses what, and what that costs."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not (self.has_view_permission(request) and request.user.has_perm("django_token_pricing.view_analytics")):
            raise PermissionDenied
        account = self._whole(request, object_id)
        if account is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return, attr-defined]
        return AccountAnalytics(self, request, account).response()

    def _whole(self, request: HttpRequest, object_id: str) -> TokenAccount | None:
        """Found as stock admin finds it, then with user and pool whole: lists show their names alone."""
        found = super(ReadOnlyAdmin, self).get_object(request, unquote(object_id))
        return found and TokenAccount.objects.select_related("user", "pool").filter(pk=found.pk).first()

    @admin.display(description=_("owner"))
    def owner(self, row: Any) -> SafeString:
        return owners.breakable(owners.name(row.owner_login, row.owner_pool, row.pk))

    @admin.display(description=_("tier"))
    def tier_name(self, row: Any) -> str | SafeString:
        if row.is_closed:
            return badge("idle", str(_("Closed")))
        return str(_("Pool")) if row.pool_id is not None else row.tier or NOTHING

    # What is shown is live; the order is that of the last refresh.

    @admin.display(description=_("available"), ordering="summary__available")
    def available(self, row: Any) -> str:
        return super().available(row)

    @admin.display(description=_("next expiry"), ordering="summary__next_expiry")
    def next_expiry(self, row: Any) -> str:
        return super().next_expiry(row)

    # As the last refresh found it

    @admin.display(description=_("granted this month"), ordering="summary__granted")
    def granted_month(self, row: Any) -> str | SafeString:
        return no_figures() if row.month_granted is None else number(int(row.month_granted))

    @admin.display(description=_("used this month"), ordering="summary__used")
    def used_month(self, row: Any) -> str | SafeString:
        return no_figures() if row.month_used is None else number(int(row.month_used))

    @admin.display(description=_("last use"), ordering="summary__last_used_at")
    def last_use(self, row: Any) -> str | SafeString:
        if row.month_used is None:
            return no_figures()
        return day(row.last_used_at) if row.last_used_at else NOTHING


def no_figures() -> SafeString:
    return format_html('<span title="{}">{}</span>', _("Not known before the next refresh of the figures"), NOTHING)
