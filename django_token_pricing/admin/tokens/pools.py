"""Pools, which people name and switch on and off, and their members as a list."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Count, F, Model, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_token_pricing import audit, tokens
from django_token_pricing.admin.base.filters import ScopeFilter
from django_token_pricing.admin.base.history import EditedMixin, HistoryMixin, Part
from django_token_pricing.admin.base.markup import link
from django_token_pricing.admin.base.mixins import Link, list_url, may_view, object_url
from django_token_pricing.admin.base.wording import NOTHING, day, number
from django_token_pricing.admin.tokens import owners
from django_token_pricing.admin.tokens.boosts import BoostPool
from django_token_pricing.admin.tokens.deed_pages import DeedsMixin
from django_token_pricing.admin.tokens.forms import PoolForm
from django_token_pricing.admin.tokens.lists import BalanceColumns, TokensAdmin
from django_token_pricing.admin.tokens.pool_deeds import AddMembers, ChangeCap, RemoveMember, RemoveMembers, SetCaps
from django_token_pricing.lib.periods import month_of
from django_token_pricing.models import PoolDraw, PoolMember, TokenAccount, TokenPool


def versions_of_members(pool: TokenPool) -> QuerySet[Any]:
    """Of those who came into the pool, changed in it or left it, be it to another pool."""
    versions: QuerySet[Any] = PoolMember.history.all()
    earlier = versions.filter(id=OuterRef("id"), history_id__lt=OuterRef("history_id")).order_by("-history_id")
    ever = versions.filter(pool=pool).order_by().values("id")
    found = versions.filter(id__in=ever).alias(pool_before=Subquery(earlier.values("pool")[:1]))
    in_it: QuerySet[Any] = found.filter(Q(pool=pool) | Q(pool_before=pool.pk))
    return in_it


@admin.register(TokenPool)
class TokenPoolAdmin(EditedMixin, DeedsMixin, BalanceColumns, TokensAdmin):
    """Name and state are changed in the stock form, with the reason; members by deeds."""

    deeds = [BoostPool, SetCaps, RemoveMembers, AddMembers]
    deeds_name = "pools"
    history_parts = [
        Part(PoolMember, versions_of_members, lambda version: audit.label(version.user), hidden=("user",)),
    ]
    form = PoolForm
    list_display = ["name", "account_page", "members", "available", "held", "next_expiry", "is_active"]
    search_fields = ["name"]
    search_help_text = _("Name of the pool from its first letters")

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
        tools = super().tools(request, row)
        if may_view(self.admin_site, request, PoolMember):
            tools.insert(0, Link(str(_("Members")), list_url(self.admin_site, PoolMember, pool=row.pk)))
        if may_view(self.admin_site, request, TokenAccount):
            url = list_url(self.admin_site, TokenAccount, member_of=row.pk)
            tools.insert(1, Link(str(_("Accounts of members")), url))
        return tools

    def _account_url(self, row: Any) -> str:
        return object_url(self.admin_site, TokenAccount, row.account_pk) if row.account_pk else ""

    # The stock form

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and request.user.has_perm("django_token_pricing.add_tokenpool")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_view_permission(request) and request.user.has_perm("django_token_pricing.change_tokenpool")

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        shown = ["name", "is_active"] if obj is None else ["name", "is_active", "account_page", "members", "created_at"]
        may_write = self.has_add_permission(request) if obj is None else self.has_change_permission(request, obj)
        return [*shown, "reason"] if may_write else shown

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        return ["account_page", "members", "created_at"]

    @admin.display(description=_("account"))
    def account_page(self, row: Any) -> SafeString | str:
        if not row.account_pk:
            return NOTHING
        return link(row.account_url, _("Account %(number)s") % {"number": row.account_pk})

    @admin.display(description=_("members"))
    def members(self, row: Any) -> str:
        return number(row.members_count)


class PoolFilter(ScopeFilter):
    title = _("pool")
    parameter = "pool"

    def label(self) -> str:
        found = TokenPool.objects.filter(pk=self.value).first()
        return found.name if found else super().label()


@admin.register(PoolMember)
class PoolMemberAdmin(HistoryMixin, DeedsMixin, TokensAdmin):
    deeds = [RemoveMember, ChangeCap]
    history_hidden = ("user",)
    list_display = ["member", "pool_name", "cap", "drawn_now", "joined"]
    list_filter = [PoolFilter]
    scopes = ["pool"]
    search_fields = ["user"]
    search_help_text = _("Login of the member or name of the pool, from the first letters")
    fields = ["member", "pool_name", "cap", "drawn_now", "joined"]
    readonly_fields = ["member", "pool_name", "cap", "drawn_now", "joined"]

    def described(self, queryset: QuerySet[Any]) -> Any:
        draws = PoolDraw.objects.filter(
            pool__pool=OuterRef("pool"),
            member__user=OuterRef("user"),
            month=month_of(timezone.now(), timezone.get_default_timezone()),
        )
        login = f"user__{owners.login_field()}"
        return queryset.select_related("pool").annotate(
            owner_login=F(login),
            account_pk=F("user__token_account"),
            drawn=Coalesce(Subquery(draws.values("drawn")[:1]), 0),
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        pools = TokenPool.objects.filter(name__istartswith=term).values_list("pk", flat=True)[: owners.MOST_FOUND]
        found = queryset.filter(user__in=owners.find_users(term)) | queryset.filter(pool__in=list(pools))
        return found, False

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        may_open = may_view(self.admin_site, request, TokenAccount)
        for row in rows:
            is_there = may_open and row.account_pk
            row.account_url = object_url(self.admin_site, TokenAccount, row.account_pk) if is_there else ""

    def tools(self, request: HttpRequest, row: Any) -> list[Link]:
        tools = super().tools(request, row)
        if row.account_url:
            tools.insert(0, Link(str(_("Account")), row.account_url))
        return tools

    def versions_of(self, row: Any) -> QuerySet[Any]:
        """In this pool and in those before: who leaves and comes back gets another row."""
        found: QuerySet[Any] = PoolMember.history.filter(user=row.user_id)
        return found

    def history_title(self, row: Any) -> str:
        """Of a member who is gone the login is known as long as the user is there."""
        found = getattr(row, "owner_login", None) or get_user_model()._base_manager.filter(pk=row.user_id).first()
        return audit.label(found) if isinstance(found, Model) else str(found or row)

    @admin.display(description=_("member"))
    def member(self, row: Any) -> SafeString:
        return owners.breakable(str(row.owner_login))

    @admin.display(description=_("pool"))
    def pool_name(self, row: Any) -> str:
        return str(row.pool.name)

    @admin.display(description=_("monthly cap"))
    def cap(self, row: Any) -> str:
        return NOTHING if row.monthly_cap is None else number(row.monthly_cap)

    @admin.display(description=_("drawn this month"))
    def drawn_now(self, row: Any) -> str:
        return number(row.drawn)

    @admin.display(description=_("joined"))
    def joined(self, row: Any) -> str:
        return day(row.joined_at)
