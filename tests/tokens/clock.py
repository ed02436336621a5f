"""The ledger's clock under a test's hand, for both paths and on every database.

On PostgreSQL a function `clock_timestamp` in a schema of our own goes before pg_catalog's in the search path of the
test's connection, so that what the metering function calls is this one: no plan survives a change of the path. It is
made in the test's transaction and goes with it. Elsewhere the ledger reads its clock in one place, which is patched.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from django.db import connection

from django_token_pricing.tokens import booking

SHADOW = """
CREATE SCHEMA IF NOT EXISTS tp_clock;
CREATE OR REPLACE FUNCTION tp_clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    'SELECT current_setting(''tp_clock.now'')::timestamptz';
SELECT set_config('search_path', 'tp_clock, pg_catalog, public', true);
"""


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    @property
    def now(self) -> datetime:
        return self._now

    def at(self, moment: datetime) -> datetime:
        self._now = moment
        self._tell()
        return moment

    def on(self, **length: float) -> datetime:
        """Let this much time pass; says what it is then."""
        return self.at(self._now + timedelta(**length))

    def start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(SHADOW)
        else:
            monkeypatch.setattr(booking, "clock", self._read)
        self._tell()

    def _tell(self) -> None:
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('tp_clock.now', %s, true)", [self._now.isoformat()])

    def _read(self, using: str) -> datetime:
        return self._now


def noon(year: int, month: int, day: int, **more: Any) -> datetime:
    return datetime(year, month, day, 12, tzinfo=timezone.utc, **more)
