"""A site's shop, as tests of purchases have it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django_token_pricing import tokens
from django_token_pricing.models import TokenPackage


def package(code: str = "pack", *, prices: dict[str, str] | None = None, **fields: Any) -> TokenPackage:
    made = TokenPackage.objects.create(**{"code": code, "name": "Pack", "tokens": 1_000, **fields})
    for currency, amount in (prices or {"EUR": "9", "USD": "10.50"}).items():
        made.prices.create(currency=currency, amount=Decimal(amount))
    return made


def buy(user: Any, ref: Any = "pay-1", **more: Any) -> tokens.PurchaseResult:
    return tokens.purchase(user, "pack", payment_ref=ref, **{"currency": "EUR", **more})
