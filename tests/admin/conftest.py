"""Who looks at our pages, and the addresses of all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.test import Client

from tests.admin import site

collect_ignore_glob = [] if apps.is_installed("django.contrib.admin") else ["test_*.py"]


@pytest.fixture
def owner(db: None) -> Any:
    return site.staff(is_superuser=True)


@pytest.fixture
def operator(db: None) -> Any:
    return site.staff("view_costs", *site.VIEW, *site.MAY_DO)


@pytest.fixture
def viewer(db: None) -> Any:
    return site.staff(*site.VIEW)


@pytest.fixture
def staff_without_permission(db: None) -> Any:
    return site.staff()


@pytest.fixture
def stranger(db: None) -> Any:
    return site.staff(is_staff=False)


@pytest.fixture
def as_(client: Client) -> Callable[[Any], Client]:
    def login(user: Any) -> Client:
        client.force_login(user)
        return client

    return login


@pytest.fixture
def owners_client(owner: Any, client: Client) -> Client:
    client.force_login(owner)
    return client
