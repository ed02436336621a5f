"""What Northwind's providers charge: the price list of its models, with a price that fell and one that will."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from dateutil.relativedelta import relativedelta

from demo.rhythm import MODELS
from django_token_pricing import tokens

# What a model cost before, in how many months of the past it fell.
FELL = {"mistral-large": (Decimal("3"), Decimal("9"), 5)}
# What it will cost, in how many days.
WILL = {"gpt-4o-mini": (Decimal("0.12"), Decimal("0.50"), 16)}


def add_prices(operator: Any, *, since: datetime, as_of: datetime) -> str:
    """The list from the first day of the story on. Answers what was done."""
    opened = (since - timedelta(days=40)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    count = 0

    def add(model: str, starts_at: datetime, reason: str, **amounts: Decimal) -> None:
        nonlocal count
        tokens.set_price(model=model, starts_at=starts_at, reason=reason, actor=operator, **amounts)
        count += 1

    for model in MODELS:
        fell, will = FELL.get(model.name), WILL.get(model.name)
        now = {"input": model.input, "output": model.output, "cached_read": model.cached}
        if fell is None:
            add(model.name, opened, "The provider's price list", **now)
        else:
            before, before_output, months = fell
            fell_at = max(as_of - relativedelta(months=months), opened + timedelta(days=1))
            add(model.name, opened, "The provider's price list", input=before, output=before_output)
            add(model.name, fell_at.replace(microsecond=0), "The provider lowered it", **now)
        if will is not None:
            after, after_output, days = will
            begins = (as_of + timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)
            add(model.name, begins, "Announced by mail", input=after, output=after_output)
    return f"{count} prices of {len(MODELS)} models"
