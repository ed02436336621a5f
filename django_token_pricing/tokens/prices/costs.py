"""What counts come to: in money at a price, and in our tokens by its weights. Rounded once, at the end, if at all."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal, localcontext

from django_token_pricing.lib.provider_usage import Counts
from django_token_pricing.tokens.prices.lookup import Price

MILLION = Decimal(1_000_000)
# Counts have up to 12 digits, and prices 14.
DIGITS = 60


def cost_of(counts: Counts, price: Price | None) -> Decimal | None:
    """What the provider charges, exactly; None where the price is not known."""
    if price is None or price.input is None or price.output is None:
        return None
    with localcontext() as context:
        context.prec = DIGITS
        return (
            _plain_input(counts) * price.input
            + counts.cached_read * (price.cached_read or Decimal(0))
            + counts.cached_write * (price.cached_write or Decimal(0))
            + (counts.output - counts.reasoning) * price.output
            + counts.reasoning * (price.reasoning or Decimal(0))
        ) / MILLION


def weighted(counts: Counts, price: Price | None) -> int:
    """How many of our tokens it is, rounded up. Without a price each of theirs is one of ours."""
    if price is None:
        return counts.total
    with localcontext() as context:
        context.prec = DIGITS
        tokens = (
            _plain_input(counts) * price.weight_input
            + counts.cached_read * price.weight_cached_read
            + counts.cached_write * price.weight_cached_write
            + (counts.output - counts.reasoning) * price.weight_output
            + counts.reasoning * price.weight_reasoning
        )
        return int(tokens.to_integral_value(ROUND_CEILING))


def _plain_input(counts: Counts) -> int:
    return counts.input - counts.cached_read - counts.cached_write
