"""Purchases on real connections: many at once, a process that is killed, and what retention leaves of them."""

from __future__ import annotations

import random
import subprocess
import sys
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from django_token_pricing import tokens
from django_token_pricing.models import (
    AuditEvent,
    IdempotencyKey,
    LedgerEntry,
    Purchase,
    TokenAllocation,
    TokenPackage,
)
from tests.tokens import purchase_worker
from tests.tokens.shop import buy, package
from tests.world import new_user

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.concurrency]

THREADS = 16 if connection.vendor == "postgresql" else 8


# Privacy and retention


@pytest.fixture
def sound_ledger() -> None:
    """The books' own check asks for all history; `reconcile` knows what was pruned."""


def test_erasing_forgets_the_reference_and_keeps_the_sale(user: Any) -> None:
    package()
    first = buy(user, "maya@example.com/1")
    assert tokens.erase(user).purchases == 1
    made = Purchase.objects.get()
    assert (made.payment_ref, made.amount) == ("", 9)
    assert not TokenAllocation.objects.exclude(key="").exists()
    assert buy(user, "maya@example.com/1") == first


def test_erasing_reaches_the_purchases_of_a_user_who_is_gone(user: Any) -> None:
    package()
    account = Purchase.objects.get(pk=buy(user).purchase).account
    user.delete()
    account.refresh_from_db()
    tokens.erase(account)
    assert Purchase.objects.get().payment_ref == ""


def test_pruning_deletes_the_lot_and_the_payment_still_buys_once(user: Any) -> None:
    package()
    first = buy(user)
    tokens.consume(user, 1_000, key="use")
    done = tokens.prune(timezone.now())
    assert done.lots == 1
    again = buy(user)
    assert (again.purchase, again.allocation, again.balance_after) == (first.purchase, None, first.balance_after)
    assert tokens.refund_purchase("pay-1", reason="r").taken == 0
    assert list(tokens.reconcile()) == []


# Many at once


def test_one_payment_from_many_webhooks_grants_once(in_parallel: Any, race_seeds: range) -> None:
    package()
    for seed in race_seeds:
        user = new_user()
        answers = in_parallel([partial(buy, user, f"{seed}")] * THREADS)
        assert all(answer == answers[0] for answer in answers), answers
        assert [answer.replayed for answer in answers].count(False) == 1
        assert tokens.balance(user).available == 1_000


def test_one_payment_for_several_users_goes_to_one_of_them(in_parallel: Any, race_seeds: range) -> None:
    package()
    for seed in race_seeds:
        users = [new_user() for _ in range(THREADS)]
        answers = in_parallel([partial(buy, user, f"{seed}") for user in users])
        sold = [answer for answer in answers if isinstance(answer, tokens.PurchaseResult)]
        refused = [answer for answer in answers if isinstance(answer, tokens.IdempotencyConflict)]
        assert (len(sold), len(refused)) == (1, THREADS - 1), answers
        assert sum(balance.available for balance in tokens.balances(users).values()) == 1_000


def test_a_cap_of_one_admits_one_of_many_payments(in_parallel: Any, race_seeds: range) -> None:
    package(per_user=1)
    for seed in race_seeds:
        user = new_user()
        answers = in_parallel([partial(buy, user, f"{seed}:{number}") for number in range(THREADS)])
        sold = [answer for answer in answers if isinstance(answer, tokens.PurchaseResult)]
        refused = [answer for answer in answers if isinstance(answer, tokens.PurchaseCapReached)]
        assert (len(sold), len(refused)) == (1, THREADS - 1), answers
        assert Purchase.objects.filter(account__user=user).count() == 1


def test_switched_off_in_between_each_is_sold_or_refused_whole(in_parallel: Any) -> None:
    package()
    users = [new_user() for _ in range(THREADS)]

    def switch_off() -> None:
        TokenPackage.objects.update(is_active=False)

    calls: list[Any] = [partial(buy, user, f"ref{number}") for number, user in enumerate(users)]
    answers = in_parallel([*calls, switch_off])[:-1]
    sold = [answer for answer in answers if isinstance(answer, tokens.PurchaseResult)]
    refused = [answer for answer in answers if isinstance(answer, tokens.PackageUnavailable)]
    assert len(sold) + len(refused) == THREADS, answers
    assert Purchase.objects.count() == TokenAllocation.objects.count() == len(sold)
    with pytest.raises(tokens.PackageUnavailable):
        buy(new_user(), "late")


def test_taken_back_by_many_at_once_it_is_taken_once(in_parallel: Any) -> None:
    package()
    user = new_user()
    buy(user)
    calls = [partial(tokens.refund_purchase, "pay-1", reason="r", key=f"k{number}") for number in range(THREADS)]
    answers = in_parallel(calls)
    assert all(answer == answers[0] for answer in answers), answers
    assert (answers[0].taken, tokens.balance(user).available) == (1_000, 0)


def test_a_webhook_that_is_sent_again_after_a_crash_finds_each_payment_once(
    child_environment: dict[str, str], path: str
) -> None:
    package()
    user = new_user()
    chance = random.Random(path)
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.tokens.purchase_worker", str(user.pk)],
            env=child_environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        wanted = chance.randint(2, 40)
        for line in process.stdout:
            if int(line) >= wanted:
                break
        process.kill()
        process.stdout.close()
        process.wait()
    for number in range(purchase_worker.PAYMENTS):
        buy(user, f"pay-{number}")
    count = purchase_worker.PAYMENTS
    assert Purchase.objects.count() == TokenAllocation.objects.count() == LedgerEntry.objects.count() == count
    assert IdempotencyKey.objects.count() == AuditEvent.objects.count() == count
    assert tokens.balance(user).available == 1_000 * count
