"""The filters of the ledger's lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_token_pricing.admin.base.filters import DaysFilter, ScopeFilter
from django_token_pricing.admin.base.wording import day, number
from django_token_pricing.admin.tokens import owners
from django_token_pricing.models import TokenAccount, TokenAllocation


class AccountFilter(ScopeFilter):
    title = _("account")
    parameter = "account"

    def label(self) -> str:
        found = owners.with_owner(TokenAccount.objects.filter(pk=self.value), "").first()
        return owners.name(found.owner_login, found.owner_pool, found.pk) if found else super().label()


class AllocationFilter(ScopeFilter):
    title = _("lot")
    parameter = "allocation"

    def label(self) -> str:
        lot = TokenAllocation.objects.filter(pk=self.value).first()
        if lot is None:
            return super().label()
        return f"{lot.get_source_display()}, {number(lot.amount)}, {day(lot.booked_at)}"


class EventFilter(ScopeFilter):
    title = _("audit event")
    parameter = "event"


class BookedFilter(DaysFilter):
    title = _("day of booking")
    field = "booked_at"


class UsedFilter(DaysFilter):
    title = _("day of use")
    field = "used_at"


class OwnerFilter(SimpleListFilter):
    """Each answer is at the end of a unique index, or is nearly all rows."""

    title = _("owner")
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterator[tuple[str, Any]]:
        yield "user", _("Users")
        yield "pool", _("Pools")
        yield "closed", _("Closed")

    def queryset(self, request: HttpRequest, queryset: QuerySet[TokenAccount]) -> QuerySet[TokenAccount]:
        if self.value() == "user":
            return queryset.filter(user__isnull=False)
        if self.value() == "pool":
            return queryset.filter(pool__isnull=False)
        if self.value() == "closed":
            return queryset.filter(user__isnull=True, pool__isnull=True)
        return queryset
