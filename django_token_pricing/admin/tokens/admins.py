"""Accounts as a list, and the deeds done at one. An account has a page of its own (views.py)."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_token_pricing import tokens
from django_token_pricing.admin.base.markup import badge
from django_token_pricing.admin.base.mixins import ReadOnlyAdmin
from django_token_pricing.admin.base.wording import NOTHING, moment
from django_token_pricing.admin.tokens import owners
from django_token_pricing.admin.tokens.deed_pages import DeedsMixin
from django_token_pricing.admin.tokens.deeds import Grant, SetBalance, Subtract
from django_token_pricing.admin.tokens.filters import (
    OwnerFilter,
)
from django_token_pricing.admin.tokens.lists import HELP, BalanceColumns, TokensAdmin
from django_token_pricing.admin.tokens.views import AccountPage
from django_token_pricing.models import (
    TokenAccount,
)


@admin.register(TokenAccount)
class TokenAccountAdmin(DeedsMixin, BalanceColumns, TokensAdmin):
    deeds = [SetBalance, Subtract, Grant]
    list_display = ["owner", "tier_name", "available", "held", "next_expiry", "last_booking"]
    list_filter = [OwnerFilter]
    search_fields = ["pk"]
    search_help_text = HELP
    parameters = ["owner"]

    def described(self, queryset: QuerySet[Any]) -> Any:
        return owners.with_owner(queryset, "")

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
        balances = tokens.balances(rows)
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
        # Found as stock admin finds it, then with user and pool whole: lists show their names alone.
        found = super(ReadOnlyAdmin, self).get_object(request, unquote(object_id))
        account = found and TokenAccount.objects.select_related("user", "pool").filter(pk=found.pk).first()
        if account is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return, attr-defined]
        return AccountPage(self, request, account).response(extra_context)

    @admin.display(description=_("owner"))
    def owner(self, row: Any) -> SafeString:
        return owners.breakable(owners.name(row.owner_login, row.owner_pool, row.pk))

    @admin.display(description=_("tier"))
    def tier_name(self, row: Any) -> str | SafeString:
        if row.is_closed:
            return badge("idle", str(_("Closed")))
        return str(_("Pool")) if row.pool_id is not None else row.tier or NOTHING

    @admin.display(description=_("last booking"))
    def last_booking(self, row: Any) -> str:
        return moment(row.booked_at) if row.booked_at else NOTHING
