from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from django_token_pricing.signals import payments_synced, subscriptions_synced
from tests.payments import billing


@pytest.fixture(autouse=True)
def adapters(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(billing, "subscriptions", billing.Billing())
    monkeypatch.setattr(billing, "payments", billing.Billing())
    settings.TOKEN_PRICING = {
        "SUBSCRIPTION_ADAPTER": "tests.payments.billing.Subscriptions",
        "PAYMENT_ADAPTER": "tests.payments.billing.Payments",
    }


@pytest.fixture
def host() -> billing.Billing:
    """What tells of subscriptions."""
    return billing.subscriptions


@pytest.fixture
def till() -> billing.Billing:
    """What tells of payments."""
    return billing.payments


@pytest.fixture
def new_user(db: None) -> Callable[[], Any]:
    """Makes users of whichever model the settings name."""
    model: Any = get_user_model()
    names = count()
    return lambda: model._base_manager.create(**{model.USERNAME_FIELD: f"user{next(names)}@example.com"})


@pytest.fixture
def announced() -> Iterator[list[list[str]]]:
    """The references that each signal named."""
    named: list[list[str]] = []

    def note(*, refs: list[str], **kwargs: Any) -> None:
        named.append(sorted(refs))

    for signal in (subscriptions_synced, payments_synced):
        signal.connect(note)
    yield named
    for signal in (subscriptions_synced, payments_synced):
        signal.disconnect(note)
