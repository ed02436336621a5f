"""The filters of the ledger's lists."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_token_pricing import tokens
from django_token_pricing.admin.base.filters import DaysFilter, ScopeFilter
from django_token_pricing.admin.base.wording import day, number
from django_token_pricing.admin.tokens import owners
from django_token_pricing.choices import AccountState
from django_token_pricing.models import SummaryRefresh, TokenAccount, TokenAllocation, TokenPool

SOON = timedelta(days=7)
# Tiers that are offered by name; any other is written.
MOST_TIERS = 50


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
        match self.value():
            case None:
                return queryset
            case "user":
                return queryset.filter(user__isnull=False)
            case "pool":
                return queryset.filter(pool__isnull=False)
            case "closed":
                return queryset.filter(user__isnull=True, pool__isnull=True)
        # A deed on all that match must not become one on all there are.
        return queryset.none()


def latest_refresh(request: Any) -> SummaryRefresh | None:
    """How old the summaries are, asked once a request."""
    if not hasattr(request, "_token_pricing_refresh"):
        request._token_pricing_refresh = tokens.latest_refresh()
    found: SummaryRefresh | None = request._token_pricing_refresh
    return found


class SummaryFilter(SimpleListFilter):
    """By what the summaries say, so that an index of theirs answers. What is not offered finds nothing."""

    def wanted(self, value: str) -> dict[str, Any] | None:
        """Look-ups in a summary; None for what is not offered."""
        raise NotImplementedError

    @property
    def conditions(self) -> dict[str, Any] | None:
        value = self.value()
        return {} if value is None else self.wanted(value)

    def has_output(self) -> bool:
        return super().has_output() or self.value() is not None

    def queryset(self, request: HttpRequest, queryset: QuerySet[TokenAccount]) -> QuerySet[TokenAccount]:
        if (conditions := self.conditions) is None:
            return queryset.none()
        return queryset.filter(**{f"summary__{name}": value for name, value in conditions.items()})


class StateFilter(SummaryFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(state.value, state.label) for state in (AccountState.LOW, AccountState.EMPTY)]

    def wanted(self, value: str) -> dict[str, Any] | None:
        return {"state": value} if value in (AccountState.LOW, AccountState.EMPTY) else None


class ExpiringFilter(SummaryFilter):
    title = _("next expiry")
    parameter_name = "expiring"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("soon", _("Within 7 days"))]

    def wanted(self, value: str) -> dict[str, Any] | None:
        now = timezone.now()
        return {"next_expiry__gt": now, "next_expiry__lte": now + SOON} if value == "soon" else None


class NeverUsedFilter(SummaryFilter):
    title = _("last use")
    parameter_name = "used"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("never", _("Never used"))]

    def wanted(self, value: str) -> dict[str, Any] | None:
        return {"last_used_at__isnull": True} if value == "never" else None


class TierFilter(SummaryFilter):
    """Tiers as the last refresh found them. Where there are very many, one can be written."""

    title = _("tier")
    parameter_name = "tier"
    template = "django_token_pricing/admin/filters/tier.html"
    is_cut = False

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        refresh = latest_refresh(request)
        found = refresh.tiers if refresh else []
        self.is_cut = len(found) > MOST_TIERS
        offered = ["", *found[:MOST_TIERS]] if found else []
        given = self.value()
        if given is not None and given not in offered:
            offered.append(given)
        return [(tier, tier or _("No tier")) for tier in offered]

    def wanted(self, value: str) -> dict[str, Any] | None:
        return None if "\0" in value else {"tier": value}

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        self.others = [
            (name, value)
            for name, values in changelist.filter_params.items()
            if name not in (self.parameter_name, "before", "p", "e")
            for value in values
        ]
        return super().choices(changelist)


class MemberOfFilter(ScopeFilter):
    """Accounts of the users who are members of a pool now; the pool's own account is not among them."""

    title = _("pool of the members")
    parameter = "member_of"

    def queryset(self, request: HttpRequest, queryset: QuerySet[TokenAccount]) -> QuerySet[TokenAccount]:
        return queryset.filter(user__token_pool_membership__pool=self.value)

    def label(self) -> str:
        found = TokenPool.objects.filter(pk=self.value).first()
        return found.name if found else super().label()
