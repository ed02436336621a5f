"""Usage that is recorded and not charged."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from django_token_pricing import tokens
from django_token_pricing.models import LedgerEntry, SubscriptionMirror, TokenAccount, TokenUsageLog
from tests.world import new_pool, new_user, new_users


def test_recorded_usage_draws_on_nothing(db: None) -> None:
    user = new_user()
    tokens.grant(user, 10, source="plan")
    then = timezone.now() - timedelta(days=400)
    tokens.record_many([tokens.Use(user, 500, key="old:1", model="gpt-4o", input_tokens=450, used_at=then)])
    use = TokenUsageLog.objects.get()
    assert (use.amount, use.is_charged, use.used_at, use.model, use.input_tokens) == (500, False, then, "gpt-4o", 450)
    assert tokens.balance(user).available == 10
    assert not LedgerEntry.objects.filter(usage=use).exists()


def test_what_was_recorded_before_is_skipped(db: None) -> None:
    user = new_user()
    uses = [tokens.Use(user, number, key=f"old:{number}") for number in range(5)]
    assert tokens.record_many(uses[:3]) == tokens.Recorded(recorded=3, replayed=0)
    assert tokens.record_many(uses + uses) == tokens.Recorded(recorded=2, replayed=8)
    assert TokenUsageLog.objects.count() == 5


def test_uses_without_a_key_are_all_stored(db: None) -> None:
    user = new_user()
    tokens.record_many([tokens.Use(user, 1), tokens.Use(user, 1)])
    assert TokenUsageLog.objects.count() == 2


@pytest.mark.parametrize("amount", [2, 1])
def test_a_key_with_other_facts_stops_all_of_them(db: None, amount: int) -> None:
    user, other = new_users(2)
    tokens.record_many([tokens.Use(user, 1, key="old:1")])
    whose = user if amount == 2 else other
    with pytest.raises(tokens.IdempotencyConflict), transaction.atomic():
        tokens.record_many([tokens.Use(user, 5, key="old:2"), tokens.Use(whose, amount, key="old:1")])
    assert TokenUsageLog.objects.count() == 1


def test_a_key_of_a_charged_use_is_taken(db: None) -> None:
    user = new_user()
    tokens.grant(user, 10, source="plan")
    tokens.consume(user, 1, key="message:1")
    with pytest.raises(tokens.IdempotencyConflict), transaction.atomic():
        tokens.record_many([tokens.Use(user, 1, key="message:1")])


def test_a_recorded_use_cannot_be_refunded(db: None) -> None:
    user = new_user()
    tokens.record_many([tokens.Use(user, 5, key="old:1")])
    with pytest.raises(tokens.UnknownKey):
        tokens.refund("old:1", reason="mistake")


def test_an_account_opened_by_usage_knows_its_tier(db: None) -> None:
    user = new_user()
    now = timezone.now()
    SubscriptionMirror.objects.create(
        external_ref="s1", user=user, tier="team", status="active", occurred_at=now, synced_at=now
    )
    tokens.record_many([tokens.Use(user, 5), tokens.Use(new_pool(), 5)])
    assert TokenUsageLog.objects.get(account__user=user).tier == TokenAccount.objects.get(user=user).tier == "team"
