from __future__ import annotations

from typing import Any

import pytest

from tests.world import new_user


@pytest.fixture
def user(db: None) -> Any:
    return new_user()
