"""What an adapter may tell: every fact is checked, and written in the one form that is stored and digested.

That form is plain JSON: keys as text, moments in UTC, amounts with four decimals. Facts told twice therefore give one
digest and are one event; changing the form would make every event that is told again a new one.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields
from datetime import datetime, timezone
from decimal import Decimal
from functools import cache
from typing import Any, cast
from uuid import UUID
from zoneinfo import available_timezones

from django.core.exceptions import ValidationError
from django.db.models import DateTimeField, DecimalField, Field, ForeignKey, IntegerField
from django.utils.translation import gettext as _

from django_token_pricing.adapters import PaymentFacts, SubscriptionFacts
from django_token_pricing.exceptions import InvalidInput
from django_token_pricing.lib import digests, texts
from django_token_pricing.models import PaymentMirror, SubscriptionMirror

# Every database can hold these years and every zone can show them; `datetime.max` breaks both.
YEARS = range(1900, 9999)
MOST_QUANTITY = 2**31 - 1
FOUR_DECIMALS = Decimal("0.0001")
CURRENCY = re.compile(r"[A-Z]{3}")

_known_zones = cache(available_timezones)


def canonical(facts: SubscriptionFacts | PaymentFacts) -> dict[str, Any]:
    """The facts in their stored form. Raises InvalidInput for what the mirror could not hold."""
    mirror = SubscriptionMirror if isinstance(facts, SubscriptionFacts) else PaymentMirror
    ref = _text("ref", facts.ref, most=_length(mirror._meta.get_field("external_ref")))
    if not ref:
        raise InvalidInput(detail=_("The reference is empty."))
    stored = {"ref": ref, **{field.name: _stored(field, getattr(facts, field.name)) for field in _columns(mirror)}}
    if isinstance(facts, SubscriptionFacts):
        starts_at, ends_at = facts.period_starts_at, facts.period_ends_at
        if starts_at and ends_at and ends_at <= starts_at:
            raise InvalidInput(detail=_("The period ends before it starts."))
    elif not facts.currency:
        raise InvalidInput(detail=_("The amount has no currency."))
    elif facts.refunded_amount > facts.amount:
        raise InvalidInput(detail=_("More was refunded than paid."))
    return stored


def digest(stored: dict[str, Any]) -> UUID:
    """The digest of the facts as compact JSON with sorted names."""
    return digests.digest(json.dumps(stored, sort_keys=True, separators=(",", ":")))


def columns(stored: dict[str, Any], mirror: type[SubscriptionMirror | PaymentMirror]) -> dict[str, Any]:
    """Stored facts as values of the mirror's attributes."""
    # A fact that is younger than the event has no value in it.
    told = (field for field in _columns(mirror) if field.name in stored)
    return {field.attname: field.to_python(stored[field.name]) for field in told}


def moment(name: str, value: object) -> datetime:
    """The moment in UTC. Raises InvalidInput for a naive one: it could be anywhere within a day."""
    if not isinstance(value, datetime):
        raise _refusal(_("%(name)s is %(value)s, not a datetime."), name, value)
    if value.utcoffset() is None:
        raise _refusal(_("%(name)s is %(value)s, without a time zone."), name, value)
    if value.year not in YEARS:
        raise _refusal(_("%(name)s is %(value)s. Use None for an open end."), name, value)
    return value.astimezone(timezone.utc)


@cache
def _columns(mirror: type[SubscriptionMirror | PaymentMirror]) -> tuple[Field[Any, Any], ...]:
    facts = SubscriptionFacts if mirror is SubscriptionMirror else PaymentFacts
    names = (told.name for told in fields(facts) if told.name != "ref")
    return tuple(cast("Field[Any, Any]", mirror._meta.get_field(name)) for name in names)


def _stored(field: Field[Any, Any], value: object) -> str | int | None:
    if isinstance(field, ForeignKey):
        return None if value is None else _key(field, value)
    if isinstance(field, DateTimeField):
        return None if value is None else moment(field.name, value).isoformat()
    if isinstance(field, DecimalField):
        return _amount(field, value)
    if isinstance(field, IntegerField):
        return _quantity(field.name, value)
    return _word(field, value)


def _key(field: ForeignKey[Any, Any], value: object) -> str:
    """A key that the host's user model could have; whether there is such a user is another question."""
    try:
        if isinstance(value, (bool, float)):
            raise TypeError  # which an integer field would round
        key = field.target_field.to_python(value)
        field.target_field.run_validators(key)
    except (TypeError, ValueError, ValidationError) as error:
        raise _refusal(_("%(name)s is %(value)s, not a user's primary key."), field.name, value) from error
    return _text(field.name, str(key))


def _amount(field: DecimalField[Any, Any], value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (Decimal, int)):
        raise _refusal(_("%(name)s is %(value)s, not a Decimal."), field.name, value)
    amount = Decimal(value)
    if not amount.is_finite() or not 0 <= amount < 10 ** (field.max_digits - field.decimal_places):
        raise _refusal(_("%(name)s is %(value)s, not an amount from 0 up."), field.name, value)
    exact = abs(amount.quantize(FOUR_DECIMALS))  # there is a Decimal("-0")
    if exact != amount:
        raise _refusal(_("%(name)s is %(value)s, with more than four decimals."), field.name, value)
    return str(exact)


def _quantity(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_QUANTITY:
        raise _refusal(_("%(name)s is %(value)s, not a whole number from 1 up."), name, value)
    return value


def _word(field: Field[Any, Any], value: object) -> str:
    word = _text(field.name, value, most=_length(field))
    if field.choices and word not in dict(field.flatchoices):
        raise _refusal(_("%(name)s is %(value)s, which is none that we know."), field.name, word)
    if word and field.name == "currency" and not CURRENCY.fullmatch(word):
        raise _refusal(_("%(name)s is %(value)s, not three capital letters."), field.name, word)
    if word and field.name == "time_zone" and word not in _known_zones():
        raise _refusal(_("%(name)s is %(value)s, which is no known zone."), field.name, word)
    return word


def _text(name: str, value: object, *, most: int = 255) -> str:
    if not isinstance(value, str):
        raise _refusal(_("%(name)s is %(value)s, not a text."), name, value)
    if len(value) > most:
        raise _refusal(_("%(name)s is %(value)s, which is too long."), name, value)
    if not texts.is_storable(value):
        raise _refusal(_("%(name)s is %(value)s, with characters that cannot be stored."), name, value)
    return value


def _length(field: Any) -> int:
    return cast("int", field.max_length)


def _refusal(detail: str, name: str, value: object) -> InvalidInput:
    return InvalidInput(detail=detail % {"name": name, "value": ascii(value)[:80]})
