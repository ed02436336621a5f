"""What Northwind sells: levels of subscription, by seat and month, and packs of tokens."""

from __future__ import annotations

from dataclasses import dataclass

from billing.models import Subscription


@dataclass(frozen=True, slots=True)
class Offer:
    """`cents` by currency."""

    tokens: int
    cents: dict[str, int]


LEVELS = {
    Subscription.Level.FREE: Offer(50_000, {}),
    Subscription.Level.STARTER: Offer(250_000, {"EUR": 1_900, "USD": 2_100, "GBP": 1_700, "INR": 89_900}),
    Subscription.Level.TEAM: Offer(600_000, {"EUR": 4_900, "USD": 5_400, "GBP": 4_300, "INR": 249_900}),
    Subscription.Level.BUSINESS: Offer(1_500_000, {"EUR": 14_900, "USD": 16_400, "GBP": 12_900, "INR": 799_900}),
}

PACK = Offer(300_000, {"EUR": 1_500, "USD": 1_700, "GBP": 1_300, "INR": 79_900})
