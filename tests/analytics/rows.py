"""Rows of roll-ups as a fold would leave them, for tests of what reads them."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from django_token_pricing.models import AccountMonth, AccountRevenue, RevenueDay, TokenAccount, UsageDay
from tests import world

NOVEMBER = date(2026, 11, 1)


def used(day: date, **given: Any) -> UsageDay:
    """A use of 100 tokens that cost a cent, unless it is told otherwise."""
    fields = {"tier": "team", "model": "gpt-4o", "feature": "chat", "requests": 1, "tokens": 100, "cost": "0.01"}
    return UsageDay.objects.create(day=day, **{**fields, **given})


def earned(day: date, amount: str, currency: str = "USD", **given: Any) -> RevenueDay:
    fields = {"kind": "use", "tier": "team", "model": "gpt-4o", "feature": "chat", **given}
    if fields["kind"] == "expire":
        fields |= {"model": "", "feature": ""}
    return RevenueDay.objects.create(day=day, amount=Decimal(amount), currency=currency, **fields)


def account(tier: str = "") -> TokenAccount:
    return TokenAccount.objects.create(user=world.new_user(), tier=tier)


def month(account: TokenAccount, first: date = NOVEMBER, *, revenue: str = "", **given: Any) -> AccountMonth:
    if revenue:
        AccountRevenue.objects.create(account=account, month=first, currency="USD", amount=Decimal(revenue))
    fields = {"requests": 1, "tokens": 100, "cost": "0.01", **given}
    return AccountMonth.objects.create(account=account, month=first, **fields)
