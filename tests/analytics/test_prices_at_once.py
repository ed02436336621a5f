"""Prices that change beside uses and folds: a price from now on leaves nothing behind that was rolled up at another."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from datetime import timezone as tz
from typing import Any

import pytest
from django.db import connection, transaction

from django_token_pricing import analytics, tokens
from django_token_pricing.exceptions import PriceTaken
from django_token_pricing.models import ModelPrice, RollupState, UsageDay
from tests.conftest import Parallel
from tests.world import new_users

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.concurrency]

WHY: dict[str, Any] = {"reason": "The provider's list", "actor": None}


def test_a_price_from_now_on_never_leaves_roll_ups_behind(in_parallel: Parallel[None]) -> None:
    users = new_users(3)
    for user in users:
        tokens.grant(user, 100_000, source="plan")
    analytics.fold()

    def write(number: int) -> None:
        for _turn in range(25):
            tokens.consume(users[number], 1, key=None, model="gpt-5", input_tokens=1_000, output_tokens=10)

    def change() -> None:
        for number in range(12):
            tokens.set_price(model="gpt-5", input=number + 1, output=number + 2, **WHY)
            time.sleep(0.02)

    def fold() -> None:
        for _turn in range(15):
            analytics.fold()

    answers = in_parallel([*(lambda number=number: write(number) for number in range(3)), change, fold, fold])
    assert answers == [None] * 6
    analytics.fold()
    assert RollupState.objects.get().prices_changed_from is None
    assert UsageDay.objects.get().requests == 75
    # At the prices of now, which are those of each moment.
    assert analytics.verify() == []


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time anyway")
def test_a_fold_waits_for_a_price_that_is_not_committed(in_parallel: Parallel[None]) -> None:
    (user,) = new_users(1)
    tokens.grant(user, 1_000, source="plan")
    analytics.fold()
    is_changed = threading.Event()

    def change() -> None:
        with transaction.atomic():
            tokens.set_price(model="gpt-5", input=3, output=3, **WHY)
            is_changed.set()
            time.sleep(1)

    def use_and_fold() -> None:
        assert is_changed.wait(60)
        tokens.consume(user, 1, key=None, model="gpt-5", input_tokens=1_000_000, output_tokens=0)
        analytics.fold()

    assert in_parallel([change, use_and_fold]) == [None, None]
    analytics.fold()
    assert UsageDay.objects.get().cost == 3
    assert analytics.verify() == []


def test_of_two_prices_from_one_moment_on_one_is_set(in_parallel: Parallel[ModelPrice]) -> None:
    at = datetime(2025, 1, 1, tzinfo=tz.utc)
    answers = in_parallel(
        [
            lambda amount=amount: tokens.set_price(model="gpt-5", starts_at=at, input=amount, output=1, **WHY)
            for amount in range(1, 5)
        ]
    )
    assert sum(isinstance(answer, PriceTaken) for answer in answers) == 3
    assert ModelPrice.objects.count() == 1
    assert ModelPrice.history.count() == 1
