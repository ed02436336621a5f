"""Every test of this folder runs on each path that the database has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from tests.tokens import ledger
from tests.tokens.clock import Clock, noon
from tests.world import new_user

PATHS = ["auto", "portable"] if connection.vendor == "postgresql" else ["portable"]


@pytest.fixture(autouse=True, params=PATHS)
def path(request: pytest.FixtureRequest, settings: Any) -> str:
    """The way verbs take to the database."""
    settings.TOKEN_PRICING = {"LEDGER_PATH": request.param}
    return str(request.param)


@pytest.fixture
def user(db: None) -> Any:
    return new_user()


@pytest.fixture
def clock(db: None, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time stands still until the test moves it. The month is an ordinary one, its end two weeks away."""
    clock = Clock(noon(2031, 5, 15))
    clock.start(monkeypatch)
    return clock


@pytest.fixture(autouse=True)
def sound_ledger(db: None) -> Iterator[None]:
    """Whatever a test did, the books agree with each other afterwards."""
    yield
    assert ledger.discrepancies() == []
