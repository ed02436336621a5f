"""What the ledger's lists share: their tabs, whose rows they show, and the search for owners and keys."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_token_pricing.admin.base.mixins import ReadOnlyAdmin
from django_token_pricing.admin.base.wording import NOTHING, day, number
from django_token_pricing.admin.tokens import owners
from django_token_pricing.lib.digests import digest
from django_token_pricing.models import (
    BoostPolicy,
    IdempotencyKey,
    LedgerEntry,
    LimitRule,
    PoolMember,
    Purchase,
    TokenAccount,
    TokenAllocation,
    TokenHold,
    TokenPackage,
    TokenPool,
    TokenUsageLog,
)

SECTION: list[tuple[type[Model], Any]] = [
    (TokenAccount, _("Accounts")),
    (TokenPool, _("Pools")),
    (PoolMember, _("Members")),
    (TokenPackage, _("Packages")),
    (Purchase, _("Purchases")),
    (BoostPolicy, _("Boost policies")),
    (LimitRule, _("Limits")),
    (TokenAllocation, _("Allocations")),
    (LedgerEntry, _("Entries")),
    (TokenUsageLog, _("Usage")),
    (TokenHold, _("Holds")),
]
HELP = _("Login or pool from its first letters, account number, or user number")
HELP_WITH_KEY = _("Login or pool from its first letters, account number, user number, or a whole key")


class TokensAdmin(ReadOnlyAdmin):
    section = SECTION
    section_name = _("Tokens")


class BalanceColumns:
    """Columns of rows that carry their balance as `live`."""

    @admin.display(description=_("available"))
    def available(self, row: Any) -> str:
        return number(row.live.available)

    @admin.display(description=_("held"))
    def held(self, row: Any) -> str:
        return number(row.live.held) if row.live.held else NOTHING

    @admin.display(description=_("next expiry"))
    def next_expiry(self, row: Any) -> str:
        return day(row.live.next_expiry) if row.live.next_expiry else NOTHING


class AccountRowsAdmin(TokensAdmin):
    """Rows that belong to an account: whose they are, and only theirs by a filter or a search."""

    # Shows the search box; what is searched is said in get_search_results.
    search_fields = ["account"]
    search_help_text = HELP
    scopes = ["account"]

    def described(self, queryset: QuerySet[Any]) -> Any:
        return owners.with_owner(queryset)

    def get_list_display(self, request: HttpRequest) -> Any:
        """Within one account its name is in the filter, and not in each row."""
        shown = list(super().get_list_display(request))
        return [name for name in shown if name != "owner"] if request.GET.get("account") else shown

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        owners.link_accounts(self.admin_site, request, rows)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        by_key = self.with_key(queryset, term)
        if by_key is not None:
            return by_key, False
        found = owners.find_accounts(term)
        found.tell(request, term)
        queryset = queryset.filter(account__in=found.accounts)
        moment = self.changelist.moment
        return queryset.order_by(f"-{moment}", "-pk") if moment else queryset, False

    def with_key(self, queryset: QuerySet[Any], key: str) -> QuerySet[Any] | None:
        """The rows that were booked under this key; None where the key is not known, or says nothing here."""
        return None

    @admin.display(description=_("account"))
    def owner(self, row: Any) -> SafeString | str:
        return owners.linked_name(row)


def known_key(text: str) -> IdempotencyKey | None:
    """What was booked under this key; any text can be asked for."""
    try:
        return IdempotencyKey.objects.filter(pk=digest(text)).select_related("usage").first()
    except UnicodeEncodeError:
        return None


def may_view_costs(request: HttpRequest) -> bool:
    return request.user.has_perm("django_token_pricing.view_costs")


def without_costs(fieldsets: Any, request: HttpRequest) -> Any:
    """The same, less what usage costs for those who may not see it."""
    if may_view_costs(request):
        return fieldsets
    return [
        (title, {**options, "fields": [name for name in options["fields"] if name != "cost_text"]})
        for title, options in fieldsets
    ]
