"""Accounts and pools as lists to look at. Accounts have a page of their own (views.py)."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Count, F, Model, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_token_pricing import tokens
from django_token_pricing.admin.base.markup import badge, link
from django_token_pricing.admin.base.mixins import Link, ReadOnlyAdmin, may_view, object_url
from django_token_pricing.admin.base.wording import NOTHING, day, moment, number
from django_token_pricing.admin.tokens import owners
from django_token_pricing.admin.tokens.deed_pages import DeedsMixin
from django_token_pricing.admin.tokens.deeds import Grant, SetBalance, Subtract
from django_token_pricing.admin.tokens.filters import (
    OwnerFilter,
)
from django_token_pricing.admin.tokens.lists import HELP, TokensAdmin
from django_token_pricing.admin.tokens.views import AccountPage
from django_token_pricing.models import (
    PoolMember,
    TokenAccount,
    TokenPool,
)


@admin.register(TokenAccount)
class TokenAccountAdmin(DeedsMixin, TokensAdmin):
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

    @admin.display(description=_("available"))
    def available(self, row: Any) -> str:
        return number(row.live.available)

    @admin.display(description=_("held"))
    def held(self, row: Any) -> str:
        return number(row.live.held) if row.live.held else NOTHING

    @admin.display(description=_("next expiry"))
    def next_expiry(self, row: Any) -> str:
        return day(row.live.next_expiry) if row.live.next_expiry else NOTHING

    @admin.display(description=_("last booking"))
    def last_booking(self, row: Any) -> str:
        return moment(row.booked_at) if row.booked_at else NOTHING


@admin.register(TokenPool)
class TokenPoolAdmin(TokensAdmin):
    list_display = ["name", "account_page", "members", "available", "held", "next_expiry", "is_active"]
    search_fields = ["name"]
    search_help_text = _("Name of the pool from its first letters")
    fields = ["name", "is_active", "members", "created_at"]

    def described(self, queryset: QuerySet[Any]) -> Any:
        count = PoolMember.objects.filter(pool=OuterRef("pk")).order_by().values("pool").annotate(n=Count("pk"))
        return queryset.annotate(account_pk=F("account"), members_count=Coalesce(Subquery(count.values("n")), 0))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(name__istartswith=term) if term else queryset), False

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        balances = tokens.balances(rows)
        may_open = may_view(self.admin_site, request, TokenAccount)
        for row in rows:
            row.live = balances[row]
            row.account_url = self._account_url(row) if may_open else ""

    def tools(self, request: HttpRequest, row: Any) -> list[Link]:
        if not row.account_pk or not may_view(self.admin_site, request, TokenAccount):
            return []
        return [Link(str(_("Account")), self._account_url(row))]

    def _account_url(self, row: Any) -> str:
        return object_url(self.admin_site, TokenAccount, row.account_pk) if row.account_pk else ""

    @admin.display(description=_("account"))
    def account_page(self, row: Any) -> SafeString | str:
        if not row.account_pk:
            return NOTHING
        return link(row.account_url, _("Account %(number)s") % {"number": row.account_pk})

    @admin.display(description=_("members"))
    def members(self, row: Any) -> str:
        return number(row.members_count)

    @admin.display(description=_("available"))
    def available(self, row: Any) -> str:
        return number(row.live.available)

    @admin.display(description=_("held"))
    def held(self, row: Any) -> str:
        return number(row.live.held) if row.live.held else NOTHING

    @admin.display(description=_("next expiry"))
    def next_expiry(self, row: Any) -> str:
        return day(row.live.next_expiry) if row.live.next_expiry else NOTHING

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        return ["members"]
