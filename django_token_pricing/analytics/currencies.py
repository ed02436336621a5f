"""Amounts in several currencies beside costs in one: added up exactly, converted where the site gave a rate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation

from django_token_pricing import conf

# Sums of sums have more digits than the 28 that decimals keep by default.
EXACT = Context(prec=120)
NONE = Decimal(0)
# Costs have twelve decimals, revenue ten.
_LAST_DIGIT = Decimal("1e-12")


def total(amounts: Iterable[Decimal]) -> Decimal:
    found = NONE
    for amount in amounts:
        found = EXACT.add(found, amount)
    return found


def summed(amount: Decimal | None) -> Decimal:
    """A sum as the database gives it, without what SQLite, which adds up floats, has behind the last digit."""
    return EXACT.quantize(amount, _LAST_DIGIT) if amount else NONE


def rates() -> dict[str, Decimal]:
    """What one unit of a currency is worth in that of costs. What is no rate is left out."""
    settings = conf.current()
    given = ((currency, rate_of(text)) for currency, text in settings.EXCHANGE_RATES.items())
    return {currency: rate for currency, rate in given if rate} | {settings.DEFAULT_CURRENCY: Decimal(1)}


def rate_of(given: object) -> Decimal | None:
    """The rate that a setting gives as text; None for what is none, which is what is not above 0."""
    try:
        rate = Decimal(str(given))
    except InvalidOperation:
        return None
    return rate if rate.is_finite() and rate > 0 else None


@dataclass(frozen=True, slots=True)
class Converted:
    """The sum in the currency of costs, and what cannot be in it as its currency has no rate."""

    amount: Decimal
    apart: Mapping[str, Decimal]


def convert(amounts: Mapping[str, Decimal], by: Mapping[str, Decimal]) -> Converted:
    """By these rates; nothing is rounded."""
    known = (EXACT.multiply(amount, by[currency]) for currency, amount in amounts.items() if currency in by)
    return Converted(total(known), {name: amount for name, amount in amounts.items() if name not in by and amount})
