"""Erasing what is personal, and pruning what is old."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from django_token_pricing import tokens
from django_token_pricing.exceptions import HistoryPruned
from django_token_pricing.models import (
    AuditEvent,
    IdempotencyKey,
    Job,
    JobRow,
    LedgerEntry,
    PoolMember,
    TokenAccount,
    TokenAllocation,
    TokenHold,
    TokenUsageLog,
)
from tests.world import new_pool, new_user, new_users

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sound_ledger() -> None:
    """The books' own check asks for all history; `reconcile` knows what was pruned."""


def test_erasing_removes_what_is_personal_and_keeps_the_books(path: str) -> None:
    user = new_user()
    tokens.grant(user, 10, source="plan", key="maya@example.com:1", reason="Maya asked")
    tokens.consume(user, 4, key="maya@example.com:2", metadata={"prompt": "mine"}, model="gpt-4o")
    account = TokenAccount.objects.get(user=user)
    tokens.erase(user)
    use = TokenUsageLog.objects.get()
    assert (use.key, use.metadata, use.model, use.amount) == ("", {}, "gpt-4o", 4)
    assert TokenAllocation.objects.get().key == ""
    assert not AuditEvent.objects.filter(reason__contains="Maya").exists()
    assert AuditEvent.objects.of(account).action("tokens.erase").exists()
    assert tokens.balance(user).available == 6
    assert list(tokens.reconcile()) == []


def test_erasing_reaches_the_history_of_memberships_and_lines_of_files() -> None:
    user, other = new_users(2)
    account = TokenAccount.objects.get(pk=tokens.grant(user, 10, source="plan").account)
    tokens.add_members(new_pool(), [user, other], reason="Maya and a friend", actor=None)
    over = Job.objects.create(kind="tokens.import", finished_at=timezone.now())
    under_way = Job.objects.create(kind="tokens.import")
    for job in (over, under_way):
        JobRow.objects.create(job=job, number=1, target=account.pk, data={"owner": "maya@example.com"})
    tokens.erase(user)
    versions = dict(PoolMember.history.values_list("user_id", "history_change_reason"))
    assert versions == {user.pk: "", other.pk: "Maya and a friend"}
    assert over.rows.get().data is None
    assert under_way.rows.get().data == {"owner": "maya@example.com"}


def test_a_key_stays_used_after_erasing(path: str) -> None:
    user = new_user()
    tokens.grant(user, 10, source="plan")
    first = tokens.consume(user, 4, key="message:1")
    tokens.erase(user)
    assert tokens.consume(user, 4, key="message:1") == first
    assert tokens.balance(user).available == 6


def test_the_account_of_a_deleted_user_can_be_erased(path: str) -> None:
    user = new_user()
    tokens.grant(user, 10, source="plan")
    tokens.consume(user, 4, key="message:1", metadata={"prompt": "mine"})
    user.delete()
    account = TokenAccount.objects.get()
    assert account.is_closed
    assert tokens.erase(account).uses == 1
    assert tokens.balance(account).available == 6


def test_pruning_takes_finished_lots_and_old_uses_and_leaves_every_balance(path: str) -> None:
    user = new_user()
    pool = new_pool(user)
    tokens.grant(user, 10, source="plan")
    tokens.grant(pool, 100, source="plan")
    tokens.consume(user, 15, key="old:1")
    tokens.record_many([tokens.Use(user, 7, key="old:2", used_at=timezone.now() - timedelta(days=900))])
    tokens.grant(user, 20, source="plan")
    time.sleep(0.01)
    before = timezone.now()
    tokens.consume(user, 5, key="new:1")
    seen = tokens.balance(user), tokens.balance(pool)
    result = tokens.prune(before, reason="two years are enough")
    assert (result.lots, result.uses) == (1, 1)
    assert (tokens.balance(user), tokens.balance(pool)) == seen
    assert TokenUsageLog.objects.filter(key="old:1").exists(), "a lot that is still open was drawn by it"
    assert not IdempotencyKey.objects.filter(verb="record").exists()
    assert list(tokens.reconcile()) == []
    with pytest.raises(HistoryPruned):
        tokens.balance(user, as_of=before - timedelta(seconds=1))
    assert tokens.balance(user, as_of=timezone.now()) == tokens.balance(user)


def test_pruning_the_future_is_refused(path: str) -> None:
    with pytest.raises(tokens.InvalidMoment):
        tokens.prune(timezone.now() + timedelta(days=1))


def test_what_is_still_held_or_carried_over_is_not_pruned(path: str) -> None:
    user = new_user()
    lot = TokenAllocation.objects.get(pk=tokens.grant(user, 10, source="plan").allocation)
    new = tokens.rollover(lot, expires_at=None)
    held = tokens.hold(user, 10, key="job:1")
    tokens.prune(timezone.now())
    assert set(TokenAllocation.objects.values_list("pk", flat=True)) == {lot.pk, new.allocation}
    held.settle(10)
    assert list(tokens.reconcile()) == []
    assert LedgerEntry.objects.count() == 4


def test_what_was_held_and_is_over_is_pruned_with_its_lot(path: str) -> None:
    user = new_user()
    tokens.grant(user, 10, source="plan")
    with tokens.hold(user, 10, key="job:1") as hold:
        hold.settle(10)
    time.sleep(0.01)
    before = timezone.now()
    tokens.grant(user, 5, source="plan")
    assert tokens.prune(before) == tokens.Pruning(uses=1, entries=2, lots=1)
    assert not TokenHold.objects.exists()
    assert list(tokens.reconcile()) == []


def test_erasing_somebody_without_an_account_says_so(path: str) -> None:
    with pytest.raises(tokens.UnknownOwner):
        tokens.erase(new_user())
