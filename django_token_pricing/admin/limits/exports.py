"""The file of the list of limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.db.models import F

from django_token_pricing import jobs
from django_token_pricing.admin.base.exports import Export
from django_token_pricing.admin.tokens import owners
from django_token_pricing.admin.tokens.exports import in_order
from django_token_pricing.models import LimitRule


@jobs.register
class LimitsExport(Export):
    kind = "export.limitrule"
    permission = "django_token_pricing.view_limitrule"
    model = LimitRule
    file_stem = "limits"

    def columns(self, user: Any) -> list[str]:
        whom = ["number", "scope", "user", "pool", "tier"]
        what = ["model", "feature", "metric", "window", "alignment", "time_zone", "limit"]
        return [*whom, *what, "mode", "grace", "counting", "on_failure", "starts_at", "ends_at", "retired_at"]

    def rows(self, keys: Sequence[Any], user: Any) -> Iterator[Sequence[Any]]:
        fields = ["pk", "scope", "login", "pool_name", *self.columns(user)[4:]]
        named = LimitRule.objects.order_by().annotate(
            login=F(f"user__{owners.login_field()}"), pool_name=F("pool__name")
        )
        for row in in_order(named, keys, *fields[1:]):
            yield [row[name] for name in fields]
