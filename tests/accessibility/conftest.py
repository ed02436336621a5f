"""What browser tests stand on."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps

collect_ignore_glob = [] if apps.is_installed("django.contrib.admin") else ["test_*.py"]


@pytest.fixture(scope="session")
def live_server(django_db_setup: None, live_server: Any) -> Any:
    """Started after the test database is made.

    Before that SQLite's name is still :memory:, for which the server's threads would be handed the connection of the
    tests: two threads in one connection crash the process.
    """
    return live_server
