"""A clock under the tests' hand, and rules of each kind."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tokens.clock import Clock, noon
from tests.world import new_user


@pytest.fixture
def user(db: None) -> Any:
    return new_user()


@pytest.fixture
def clock(db: None, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time stands still until the test moves it: noon in the middle of a month."""
    clock = Clock(noon(2031, 5, 15))
    clock.start(monkeypatch)
    return clock
