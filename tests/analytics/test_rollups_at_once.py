"""Folds beside writers: whatever is committed in whichever order, nothing is left out and nothing is counted twice."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from django_token_pricing import analytics, tokens
from django_token_pricing.models import TokenUsageLog, UsageDay
from tests.conftest import Parallel
from tests.world import new_users

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.concurrency]


def test_folds_amid_traffic_hold_each_row_once(in_parallel: Parallel[None], race_seeds: range) -> None:
    """Transactions of different lengths, so that numbers are committed out of order; late uses of other months."""
    now = timezone.now()
    for seed in race_seeds:
        users = new_users(6)
        for user in users:
            tokens.grant(user, 10_000, source="plan")

        def write(number: int, seed: int = seed, users: list[object] = users) -> None:
            rng = random.Random(seed * 100 + number)
            for turn in range(12):
                late = now - timedelta(days=rng.choice([0, 0, 1, 40]))
                with transaction.atomic():
                    for _ in range(rng.randint(1, 3)):
                        tokens.consume(users[number], rng.randint(1, 9), key=None, model=rng.choice("ab"), used_at=late)
                    if turn % 5 == 4:
                        tokens.record_many([tokens.Use(users[number], 3, used_at=late)])

        def fold() -> None:
            for _ in range(15):
                analytics.fold()

        answers = in_parallel([*(lambda number=number: write(number) for number in range(6)), fold, fold])
        assert answers == [None] * 8
        analytics.fold()
        assert analytics.verify() == []
        used = TokenUsageLog.objects.aggregate(n=Sum("amount"))["n"]
        assert UsageDay.objects.aggregate(n=Sum("tokens"))["n"] == used
