"""Prices that providers publish, as the package genai-prices (the extra `prices`) has them. Nothing is fetched.

Its rules for names find the price of a model that a provider gives a date, or an alias. What is found is stored under
the name that the usage has, because that is how prices are looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from importlib.util import find_spec
from typing import Any

from django.utils.translation import gettext as _

from django_token_pricing.exceptions import ExtraMissing, InvalidInput
from django_token_pricing.lib.texts import is_storable
from django_token_pricing.tokens.prices.changes import MOST_PRICE, PLACES, NewPrice

# Its names for our fields.
KINDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached_read": "cache_read_mtok",
    "cached_write": "cache_write_mtok",
    "reasoning": "output_reasoning_mtok",
}


@dataclass(frozen=True, slots=True)
class Publisher:
    """A provider, and how many of its models have a price."""

    code: str
    name: str
    models: int


@dataclass(frozen=True, slots=True)
class Published:
    """A price that is published. `is_tiered`: long requests cost more, and this is the price of short ones."""

    publisher: str
    price: NewPrice
    is_tiered: bool


def is_installed() -> bool:
    return find_spec("genai_prices") is not None


def publishers() -> list[Publisher]:
    """Those with prices, in the order of their names. Raises ExtraMissing."""
    found = [
        Publisher(provider.id, provider.name, len(provider.models)) for provider in _providers() if provider.models
    ]
    return sorted(found, key=lambda publisher: publisher.name.lower())


def published(
    codes: Sequence[str], *, as_of: datetime, models: Iterable[str] = (), has_all: bool = True
) -> list[Published]:
    """What these providers publish, valid at a moment: for `models`, and for all of theirs under their own names too.

    In the order in which they are given. Raises ExtraMissing, InvalidInput.
    """
    by_code = {provider.id: provider for provider in _providers()}
    found = []
    used = list(models)
    for code in dict.fromkeys(codes):
        provider = by_code.get(code)
        if provider is None:
            raise InvalidInput(detail=_("“%(code)s” is no provider that has prices.") % {"code": code})
        named: dict[str, Any] = {}
        for name in used:
            if (model := provider.find_model(name)) is not None:
                named[name] = model
        if has_all:
            for model in provider.models:
                named.setdefault(model.id, model)
        found += [price for name, model in sorted(named.items()) if (price := _price(code, name, model, as_of))]
    return found


def _providers() -> list[Any]:
    if not is_installed():
        raise ExtraMissing(extra="prices")
    from genai_prices.data_snapshot import get_snapshot

    return list(get_snapshot().providers)


def _price(code: str, name: str, model: Any, as_of: datetime) -> Published | None:
    """None for what has no price for tokens, such as a price for each hour of sound."""
    if not 0 < len(name) <= 200 or not is_storable(name):
        return None
    prices = model.get_prices(as_of)
    values: dict[str, Any] = {}
    is_tiered = False
    for kind, theirs in KINDS.items():
        given = getattr(prices, theirs, None)
        is_tiered = is_tiered or hasattr(given, "tiers")
        amount = getattr(given, "base", given)
        if isinstance(amount, Decimal) and 0 <= amount <= MOST_PRICE:
            values[kind] = round(amount, PLACES)
    if "input" not in values and "output" not in values:
        return None
    # Embeddings have no output, and so no price for it.
    values.setdefault("input", Decimal(0))
    values.setdefault("output", Decimal(0))
    return Published(code, NewPrice(model=name, **values), is_tiered)
