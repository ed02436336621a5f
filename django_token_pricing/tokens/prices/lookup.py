"""The price of a model that is valid at a moment.

Metering asks for it with each use, so the rows of a model are kept in this process for a few seconds. A change that
commits here is seen here at once, and by other processes when theirs are that old. Within a transaction of the host
nothing is kept: it may have changed a price itself, and may still take that back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from time import monotonic

from django.db import transaction

from django_token_pricing.models import ModelPrice
from django_token_pricing.tokens import booking

SECONDS = 5.0
# Models come from the host: it may send any number of names.
MOST_KEPT = 2_000
_ONE = Decimal(1)

_kept: dict[tuple[str, str], tuple[float, list[Price]]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A row of the price list, with what it leaves open filled in: prices for a million tokens, and weights for one.

    Prices are None where the row says that they are not known.
    """

    number: int
    provider: str
    model: str
    starts_at: datetime
    input: Decimal | None
    output: Decimal | None
    cached_read: Decimal | None
    cached_write: Decimal | None
    reasoning: Decimal | None
    weight_input: Decimal
    weight_output: Decimal
    weight_cached_read: Decimal
    weight_cached_write: Decimal
    weight_reasoning: Decimal


def price_of(provider: str, model: str, as_of: datetime) -> Price | None:
    """The price of a provider's model at a moment; None where there is none.

    One that names the provider goes before one for any; of these the one that began last. A model is found by its whole
    name, as it stands in the usage.
    """
    rows = _rows(model) if model else []
    of_any = None
    for row in rows:
        if row.starts_at > as_of:
            continue
        if row.provider == provider:
            return row
        if not row.provider and of_any is None:
            of_any = row
    return of_any


def forget() -> None:
    """Read prices anew in this process."""
    _kept.clear()


def forget_on_commit(using: str) -> None:
    forget()
    transaction.on_commit(forget, using=using)


def _rows(model: str) -> list[Price]:
    """All rows of a model, the latest first."""
    using = booking.database()
    if transaction.get_connection(using).in_atomic_block:
        return _read(model, using)
    known = _kept.get((using, model))
    now = monotonic()
    if known is not None and known[0] > now:
        return known[1]
    if len(_kept) >= MOST_KEPT:
        forget()
    found = _read(model, using)
    _kept[using, model] = (now + SECONDS, found)
    return found


def _read(model: str, using: str) -> list[Price]:
    rows = ModelPrice.objects.using(using).filter(model=model).order_by("-starts_at", "-pk")
    # A database may find names that differ in their case alone.
    return [price(row) for row in rows if row.model == model]


def price(row: ModelPrice) -> Price:
    weight_input = _ONE if row.weight_input is None else row.weight_input
    weight_output = _ONE if row.weight_output is None else row.weight_output
    return Price(
        number=row.pk,
        provider=row.provider,
        model=row.model,
        starts_at=row.starts_at,
        input=row.input,
        output=row.output,
        cached_read=row.input if row.cached_read is None else row.cached_read,
        cached_write=row.input if row.cached_write is None else row.cached_write,
        reasoning=row.output if row.reasoning is None else row.reasoning,
        weight_input=weight_input,
        weight_output=weight_output,
        weight_cached_read=weight_input if row.weight_cached_read is None else row.weight_cached_read,
        weight_cached_write=weight_input if row.weight_cached_write is None else row.weight_cached_write,
        weight_reasoning=weight_output if row.weight_reasoning is None else row.weight_reasoning,
    )
