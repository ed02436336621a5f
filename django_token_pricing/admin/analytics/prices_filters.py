"""Filters of the price list."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import SimpleListFilter
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_token_pricing.models import ModelPrice


def later(**conditions: Any) -> QuerySet[ModelPrice]:
    """Rows of the same model and provider that begin after a row."""
    same = ModelPrice.objects.filter(model=OuterRef("model"), provider=OuterRef("provider"))
    return same.filter(starts_at__gt=OuterRef("starts_at"), **conditions)


class StateFilter(SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("current", _("Valid now")), ("scheduled", _("Scheduled")), ("ended", _("Ended"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ModelPrice]) -> QuerySet[ModelPrice]:
        now = timezone.now()
        is_over = Exists(later(starts_at__lte=now))
        match self.value():
            case "current":
                return queryset.filter(~is_over, starts_at__lte=now)
            case "scheduled":
                return queryset.filter(starts_at__gt=now)
            case "ended":
                return queryset.filter(is_over)
        return queryset


class ProviderFilter(SimpleListFilter):
    """The providers that the list names. They are few, as prices are."""

    title = _("provider")
    parameter_name = "provider"
    any_provider = "-"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        found = ModelPrice.objects.order_by("provider").values_list("provider", flat=True).distinct()[:50]
        return [(name or self.any_provider, name or _("Any provider")) for name in found]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ModelPrice]) -> QuerySet[ModelPrice]:
        value = self.value()
        return queryset if value is None else queryset.filter(provider="" if value == self.any_provider else value)
