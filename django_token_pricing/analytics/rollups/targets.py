"""The tables of the roll-ups: what tells their rows apart, and what is summed in them."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import models

from django_token_pricing.models import AccountMonth, AccountRevenue, FlowDay, RevenueDay, UsageDay, UsageHour

USED = ("requests", "tokens", "input_tokens", "output_tokens", "cached_tokens", "cost", "unpriced")


@dataclass(frozen=True, slots=True)
class Target:
    """A roll-up. `calendar` is the column that says of when its rows are, in days or in months."""

    model: type[models.Model]
    keys: tuple[str, ...]
    measures: tuple[str, ...]
    calendar: str
    # Columns that follow from the keys.
    derived: tuple[str, ...] = ()

    @property
    def table(self) -> str:
        return self.model._meta.db_table

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.keys, *self.derived, *self.measures)


HOURS = Target(UsageHour, ("starts_at", "tier", "model", "feature"), USED, "day", ("day", "hour"))
DAYS = Target(UsageDay, ("day", "tier", "model", "feature"), USED, "day")
MONTHS = Target(AccountMonth, ("account_id", "month"), USED, "month")
REVENUE = Target(RevenueDay, ("day", "kind", "tier", "model", "feature", "currency"), ("amount", "tokens"), "day")
ACCOUNT_REVENUE = Target(AccountRevenue, ("account_id", "month", "currency"), ("amount",), "month")
FLOWS = Target(FlowDay, ("day", "kind", "source"), ("entries", "tokens"), "day")

TARGETS = (HOURS, DAYS, MONTHS, REVENUE, ACCOUNT_REVENUE, FLOWS)
