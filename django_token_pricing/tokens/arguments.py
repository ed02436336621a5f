"""What callers give, checked once at the door: a value that passes here is stored as it is."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, timedelta
from datetime import timezone as tz
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext as _

from django_token_pricing.choices import Source
from django_token_pricing.exceptions import (
    InvalidAmount,
    InvalidInput,
    InvalidKey,
    InvalidMoment,
    InvalidUsage,
    UnknownOwner,
)
from django_token_pricing.lib.digests import digest
from django_token_pricing.lib.money import Money
from django_token_pricing.lib.periods import start_of_day
from django_token_pricing.lib.texts import is_storable, is_storable_json
from django_token_pricing.models import KEY_LENGTH, TOKEN_COUNTS, TokenAccount, TokenPool, TokenUsageLog

MOST = 2**63 - 1
AHEAD = timedelta(minutes=5)
MOST_TTL = timedelta(days=366)
# Every database can hold these, and every zone can show them; `datetime.max` breaks both.
YEARS = range(1900, 9999)
TEXT_LENGTH = {
    name: getattr(TokenUsageLog._meta.get_field(name), "max_length", 0) for name in ("provider", "model", "feature")
}


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose account: exactly one of the two is set."""

    user: Any = None
    pool: int | None = None

    @property
    def lookup(self) -> dict[str, Any]:
        return {"user_id": self.user} if self.pool is None else {"pool_id": self.pool}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a use was for; None where the caller said nothing."""

    used_at: datetime | None = None
    provider: str | None = None
    model: str | None = None
    feature: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: Decimal | None = None
    metadata: dict[str, Any] | None = None

    def given(self) -> dict[str, Any]:
        return {name: value for name in USAGE_FIELDS if (value := getattr(self, name)) is not None}


USAGE_FIELDS = tuple(entry.name for entry in fields(Usage))
NO_USAGE = Usage()


def owner(subject: Any) -> Owner:
    """The account's owner for a user, a pool, or an account of either. Raises UnknownOwner."""
    if isinstance(subject, Owner):
        return subject
    if isinstance(subject, get_user_model()) and subject.pk is not None:
        return Owner(user=subject.pk)
    if isinstance(subject, TokenPool) and subject.pk is not None:
        return Owner(pool=subject.pk)
    if isinstance(subject, TokenAccount) and not subject.is_closed:
        return Owner(user=subject.user_id) if subject.pool_id is None else Owner(pool=subject.pool_id)
    raise UnknownOwner(owner=_described(subject))


def _described(subject: Any) -> str:
    return f"{type(subject).__name__} {subject.pk}" if isinstance(subject, models.Model) else repr(subject)


def amount(value: Any, *, least: int = 1) -> int:
    """A whole number of tokens from `least` to 2^63 - 1. Raises InvalidAmount for all else, bool and float included."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidAmount(amount=value, detail=_("it must be a whole number."))
    if value < least:
        raise InvalidAmount(amount=value, detail=_("the least is %(least)s.") % {"least": least})
    if value > MOST:
        raise InvalidAmount(amount=value, detail=_("the most is %(most)s.") % {"most": MOST})
    return int(value)


def key(value: Any) -> tuple[str, UUID | None]:
    """The key and its digest; ("", None) for no key. Raises InvalidKey."""
    if value is None:
        return "", None
    if not isinstance(value, str):
        raise InvalidKey(detail=_("it must be text."))
    if not value or len(value) > KEY_LENGTH:
        raise InvalidKey(detail=_("it must have 1 to %(most)s characters.") % {"most": KEY_LENGTH})
    if not is_storable(value):
        raise InvalidKey(detail=_("it holds a character that cannot be stored."))
    return value, digest(value)


def required_key(value: Any) -> tuple[str, UUID]:
    text, found = key(value)
    if found is None:
        raise InvalidKey(detail=_("one is needed here."))
    return text, found


def moment(name: str, value: Any) -> datetime | None:
    """An aware moment, in UTC. Raises InvalidMoment."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise InvalidMoment(name=name, value=repr(value), detail=_("it is not a moment."))
    if timezone.is_naive(value):
        raise InvalidMoment(name=name, value=value, detail=_("it has no time zone."))
    if value.year not in YEARS:
        raise InvalidMoment(name=name, value=value, detail=_("leave it out for an open end."))
    return value.astimezone(tz.utc)


def start(value: Any) -> datetime | None:
    """When a lot starts; a plain date means the beginning of that day in the site's zone."""
    return moment("starts_at", _at_midnight("starts_at", value, days=0))


def expiry(value: Any) -> datetime | None:
    """When a lot ends; a plain date means the end of that day in the site's zone."""
    return moment("expires_at", _at_midnight("expires_at", value, days=1))


def _at_midnight(name: str, value: Any, *, days: int) -> Any:
    if not isinstance(value, date) or isinstance(value, datetime):
        return value
    if value.year not in YEARS:
        raise InvalidMoment(name=name, value=value, detail=_("leave it out for an open end."))
    return start_of_day(value + timedelta(days=days), timezone.get_default_timezone())


def source(value: Any) -> str:
    try:
        return Source(value).value
    except ValueError:
        known = ", ".join(Source.values)
        raise InvalidUsage(
            name="source", detail=_("%(value)r is none of %(known)s.") % {"value": value, "known": known}
        ) from None


def paid(value: Any) -> tuple[Decimal | None, str]:
    """An amount with its currency: Money, or the pair of the two."""
    if value is None:
        return None, ""
    try:
        money = value if isinstance(value, Money) else Money(*value)
        if money.amount < 0 or money.amount != money.amount.quantize(Decimal("0.0001")) or money.amount >= 10**15:
            raise ValueError(_("it must be from 0 up, with at most four decimals."))
    except (TypeError, ValueError, InvalidOperation) as error:
        raise InvalidUsage(name="paid", detail=str(error)) from error
    return money.amount, money.currency


def usage(given: dict[str, Any]) -> Usage:
    """The facts of a use. Raises InvalidUsage or InvalidMoment; an unknown field is a TypeError."""
    if not given:
        return NO_USAGE
    facts = Usage(**given)
    for name in TEXT_LENGTH:
        _text(name, getattr(facts, name))
    for name in TOKEN_COUNTS:
        if (count := getattr(facts, name)) is not None:
            amount(count, least=0)
    if facts.used_at is not None:
        moment("used_at", facts.used_at)
        if facts.used_at > timezone.now() + AHEAD:
            raise InvalidMoment(name="used_at", value=facts.used_at, detail=_("it lies more than 5 minutes ahead."))
    if facts.metadata is not None:
        _json(facts.metadata)
    return facts if facts.cost is None else replace(facts, cost=_cost(facts.cost))


def _text(name: str, value: Any) -> None:
    if value is None:
        return
    most = TEXT_LENGTH[name]
    if not isinstance(value, str) or len(value) > most or not is_storable(value):
        detail = _("it must be text of at most %(most)s characters that can be stored.") % {"most": most}
        raise InvalidUsage(name=name, detail=detail)


def _cost(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (Decimal, int)):
        raise InvalidUsage(name="cost", detail=_("it must be a Decimal or a whole number."))
    cost = Decimal(value)
    if cost.is_finite() and 0 <= cost < 10**10 and (stored := round(cost, 10)) < 10**10:
        return stored
    raise InvalidUsage(name="cost", detail=_("it must be from 0 up and below 10,000,000,000."))


def _json(value: Any) -> None:
    if not isinstance(value, dict):
        raise InvalidUsage(name="metadata", detail=_("it must be a dict."))
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise InvalidUsage(name="metadata", detail=str(error)) from error
    if not is_storable_json(text):
        raise InvalidUsage(name="metadata", detail=_("it holds a character that cannot be stored."))


def ttl(value: Any, *, default: timedelta) -> timedelta:
    """How long a hold lasts: a timedelta, or seconds."""
    if value is None:
        return default
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= MOST_TTL.total_seconds():
        value = timedelta(seconds=value)
    if not isinstance(value, timedelta) or not timedelta(0) < value <= MOST_TTL:
        raise InvalidMoment(name="ttl", value=repr(value), detail=_("it must be above 0 and at most 366 days."))
    return value


def reason(value: str) -> None:
    if not value.strip():
        raise InvalidInput(detail=_("A reason is needed: it is what the audit trail will say."))
