"""Short words for what tests of limits say over and over."""

from __future__ import annotations

from typing import Any

from django_token_pricing import tokens
from django_token_pricing.models import LimitRule


def give(owner: Any, amount: int = 1_000, **terms: Any) -> int:
    return tokens.grant(owner, amount, source="manual", **terms).allocation


def limit(most: int, window: str = "day", *, rule: LimitRule | None = None, **terms: Any) -> LimitRule:
    """A limit for whom the terms name, for everybody if they name nobody."""
    scope = next((name for name in ("user", "pool", "tier") if name in terms), "default")
    return tokens.set_limit(
        scope=scope, limit=most, window=window, reason="as the test wants", actor=None, rule=rule, **terms
    )


def use(owner: Any, amount: int = 1, **facts: Any) -> tokens.Consumption:
    return tokens.consume(owner, amount, **{"key": None, **facts})


def state(owner: Any, rule: LimitRule) -> tokens.LimitState:
    return next(found for found in tokens.limits(owner) if found.rule == rule)
