"""Metering what a provider answered: read its usage, weigh it in our tokens, consume or settle."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from django_token_pricing.exceptions import (
    IdempotencyConflict,
    InvalidKey,
    InvalidResponse,
    InvalidUsage,
)
from django_token_pricing.lib import provider_usage
from django_token_pricing.lib.provider_usage import Counts, UnreadableUsage
from django_token_pricing.models import TOKEN_COUNTS, IdempotencyKey
from django_token_pricing.tokens import arguments, booking, prices
from django_token_pricing.tokens.arguments import Owner
from django_token_pricing.tokens.metering import Hold, consume, settle
from django_token_pricing.tokens.results import Consumption


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """A use was booked: what was drawn, and the provider's counts that it was worked out from."""

    consumption: Consumption
    counts: Counts

    @property
    def amount(self) -> int:
        """In our tokens."""
        return self.consumption.amount

    @property
    def balance_after(self) -> int:
        return self.consumption.balance_after

    @property
    def replayed(self) -> bool:
        return self.consumption.replayed


def meter(
    owner: Any,
    response_usage: Any,
    *,
    key: str | None,
    provider: str | None = None,
    model: str | None = None,
    feature: str | None = None,
    hold: Hold | str | None = None,
    used_at: datetime | None = None,
    metadata: dict[str, Any] | None = None,
) -> Metered:
    """Draw tokens for what a provider answered: its usage block, its whole answer, or the chunks of a stream.

    The counts are weighed by the model's price list, of the moment of use, and rounded up once; without a price each of
    the provider's tokens is one of ours. `model` and `provider` are stored with the use and find its price; a model
    that is not given is taken from the answer. With `hold`, one made by `tokens.hold` or its key, that hold is settled
    for them, and `key` is None.

    The same key with the same answer counts once, even if weights were changed in between. One query is added to those
    of `consume`, or none where the prices of the model were asked for in the last seconds; with `hold` one more, which
    asks whose it is.

    Raises InvalidResponse for usage that cannot be read or does not add up, and what `consume` or `settle` raises.
    """
    counts = read_usage(response_usage, provider=provider)
    facts: dict[str, Any] = {
        "provider": provider_name(provider),
        "model": model or counts.model,
        "feature": feature,
        "input_tokens": counts.input,
        "output_tokens": counts.output,
        "cached_tokens": counts.cached_read,
        "cache_write_tokens": counts.cached_write,
        "reasoning_tokens": counts.reasoning,
        "metadata": metadata,
        "used_at": used_at,
    }
    facts = {name: value for name, value in facts.items() if value is not None}
    # Checked before anything is asked of the database.
    arguments.usage(facts)
    whose = arguments.owner(owner)
    text = _key_of(key, hold)
    if hold is not None:
        _require_own(whose, text)
    price = prices.price_of(facts.get("provider", ""), facts.get("model", ""), used_at or timezone.now())
    amount = prices.weighted(counts, price)

    def book(amount: int) -> Consumption:
        if hold is None:
            return consume(owner, amount, key=text, **facts)
        return hold.settle(amount, **facts) if isinstance(hold, Hold) else settle(hold, amount, **facts)

    try:
        return Metered(consumption=book(amount), counts=counts)
    except IdempotencyConflict:
        before = _amount_before(whose, text, facts)
        if before in (None, amount):
            raise
        return Metered(consumption=book(before), counts=counts)


def read_usage(response_usage: Any, *, provider: str | None = None) -> Counts:
    """The counts of what a provider answered, without booking anything. Raises InvalidResponse."""
    name = provider_name(provider)
    try:
        return provider_usage.counts(response_usage, name)
    except UnreadableUsage as error:
        detail = _(error.template) % error.facts
        raise InvalidResponse(provider=name or _("the provider"), detail=detail) from error


def provider_name(provider: Any) -> str | None:
    if provider is None or provider == "":
        return None
    if not isinstance(provider, str):
        raise InvalidUsage(name="provider", detail=_("it must be text."))
    return provider_usage.provider_name(provider)


def _key_of(key: Any, hold: Any) -> str | None:
    if hold is None:
        return arguments.key(key)[0] or None
    text, _digest = arguments.required_key(hold.result.key if isinstance(hold, Hold) else hold)
    if key not in (None, text):
        raise InvalidKey(detail=_("a hold is settled under its own key: give None as the other."))
    return text


def _known(key: str | None) -> IdempotencyKey | None:
    _text, digest = arguments.key(key)
    keys = IdempotencyKey.objects.using(booking.database()).select_related("account", "usage", "hold__usage")
    return keys.filter(digest=digest).first() if digest else None


def _is_of(known: IdempotencyKey, owner: Owner) -> bool:
    return (known.account.user_id, known.account.pool_id) == (owner.user, owner.pool)


def _require_own(owner: Owner, key: str | None) -> None:
    known = _known(key)
    if known is not None and not _is_of(known, owner):
        raise InvalidKey(detail=_("the hold is of another owner."))


def _amount_before(owner: Owner, key: str | None, facts: dict[str, Any]) -> int | None:
    """How many tokens the key drew for exactly these counts: weights may have been others then."""
    known = _known(key)
    if known is None or not _is_of(known, owner):
        return None
    usage, amount = known.usage, known.amount
    if known.hold is not None:
        usage, amount = known.hold.usage, known.hold.settled_amount
    if usage is None or usage.model != facts.get("model", ""):
        return None
    return amount if all(getattr(usage, name) == facts[name] for name in TOKEN_COUNTS) else None
