"""The metering path of PostgreSQL: one call of a function that migration 0002 installs."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connections

from django_token_pricing.tokens.arguments import Owner, Usage
from django_token_pricing.tokens.limits import periods
from django_token_pricing.tokens.outcomes import Outcome

METER = "SELECT * FROM tp_meter_1(%s, %s, %s, %s, %s, %s, %s"
SETTLE = "settle"

_installed: dict[tuple[str, str], bool] = {}


def installed(using: str) -> bool:
    """Whether the functions are there: a host that runs its tests without migrations has none."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        return False
    place = (using, str(connection.settings_dict["NAME"]))
    if place not in _installed:
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT 1 FROM pg_proc WHERE proname = 'tp_meter_1')")
            _installed[place] = cursor.fetchone()[0]
    return _installed[place]


def forget(**kwargs: Any) -> None:
    """Look again: a migration ran."""
    _installed.clear()


def meter(
    verb: str, owner: Owner, amount: int, key: str, digest: UUID | None, usage: Usage, ttl: timedelta | None, using: str
) -> Outcome:
    given = usage.given()
    if usage.metadata is not None:
        given["metadata"] = json.dumps(usage.metadata)
    if ttl is not None:
        given["ttl"] = ttl
    moment = usage.used_at
    while True:
        given.update(periods.at(moment))
        # Only what was given: each parameter has to be written, parsed and planned at every call.
        sql = f"{METER}{''.join(f', p_{name} => %s' for name in given)})"
        params = (verb, owner.user, owner.pool, amount, digest, key, settings.TIME_ZONE, *given.values())
        with connections[using].cursor() as cursor:
            cursor.execute(sql, params)
            outcome = Outcome(*cursor.fetchone())
        if outcome.status != "windows":
            return outcome
        # A rule of a new period, or another window than that of our clock. Nothing was booked.
        periods.learn((outcome.detail or "").split(","))
        moment = outcome.booked


def settle(amount: int, key: str, digest: UUID, usage: Usage, using: str) -> Outcome:
    return meter(SETTLE, Owner(), amount, key, digest, usage, None, using)


def release(key: str, digest: UUID, using: str) -> Outcome:
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT * FROM tp_release_1(%s)", (digest,))
        status, detail, account, amount, available, booked, hold = cursor.fetchone()
    return Outcome(status, detail, account, amount=amount or 0, available=available or 0, booked=booked, hold=hold)
