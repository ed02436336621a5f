"""Filters of the list of limits."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import ChoicesFieldListFilter, SimpleListFilter
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_token_pricing.admin.base.filters import ScopeFilter
from django_token_pricing.admin.tokens import owners
from django_token_pricing.choices import LimitScope
from django_token_pricing.models import LimitRule, TokenAccount

# Tiers that are offered by name; any other is searched for.
MOST_TIERS = 30


def titled(title: Any) -> type[ChoicesFieldListFilter]:
    """A filter by the choices of a field, under a name that says more than that of the field."""

    class Titled(ChoicesFieldListFilter):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.title = title

    return Titled


class StateFilter(SimpleListFilter):
    """What is retired is history, and is shown to who asks for it."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("current", _("In force")),
            ("scheduled", _("Scheduled")),
            ("ended", _("Ended")),
            ("retired", _("Retired")),
            ("all", _("All, retired ones too")),
        ]

    def choices(self, changelist: ChangeList) -> Any:
        first, *others = super().choices(changelist)
        yield {**first, "display": _("Not retired")}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[LimitRule]) -> QuerySet[LimitRule]:
        now = timezone.now()
        there = Q(retired_at=None)
        ended, waits = Q(ends_at__lte=now), Q(starts_at__gt=now)
        wanted = {
            None: there,
            "current": there & ~(Q(ends_at__isnull=False) & ended) & ~(Q(starts_at__isnull=False) & waits),
            "scheduled": there & waits,
            "ended": there & ended,
            "retired": ~there,
            "all": Q(),
        }
        found = wanted.get(self.value())
        return queryset.none() if found is None else queryset.filter(found)


class TierFilter(SimpleListFilter):
    """Tiers that have a limit."""

    title = _("tier")
    parameter_name = "tier"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        rules = LimitRule.objects.filter(scope=LimitScope.TIER, retired_at=None).order_by("tier")
        found = list(rules.values_list("tier", flat=True).distinct()[:MOST_TIERS])
        given = self.used_parameters.get(self.parameter_name)
        if given and given not in found:
            found.append(given)
        return [(tier, tier) for tier in found]

    def has_output(self) -> bool:
        return super().has_output() or self.value() is not None

    def queryset(self, request: HttpRequest, queryset: QuerySet[LimitRule]) -> QuerySet[LimitRule]:
        value = self.value()
        if value is None:
            return queryset
        return queryset.none() if "\0" in value else queryset.filter(scope=LimitScope.TIER, tier=value)


class AccountFilter(ScopeFilter):
    """Limits of one user or one pool alone, to which the account's page leads."""

    title = _("account")
    parameter = "account"

    def queryset(self, request: HttpRequest, queryset: QuerySet[LimitRule]) -> QuerySet[LimitRule]:
        account = TokenAccount.objects.filter(pk=self.value).first()
        if account is None or account.is_closed:
            return queryset.none()
        if account.pool_id is not None:
            return queryset.filter(pool=account.pool_id)
        return queryset.filter(user=account.user_id)

    def label(self) -> str:
        found = owners.with_owner(TokenAccount.objects.filter(pk=self.value), "").first()
        return owners.name(found.owner_login, found.owner_pool, found.pk) if found else super().label()
