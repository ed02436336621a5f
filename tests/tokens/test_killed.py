"""A process is killed in the middle of whatever it does; done again by its keys, every deed is there exactly once."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection
from django.db.models import Sum

from django_token_pricing import tokens
from django_token_pricing.models import (
    AuditEvent,
    IdempotencyKey,
    LedgerEntry,
    TokenAllocation,
    TokenHold,
    TokenUsageLog,
)
from tests.tokens import worker
from tests.world import new_users

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.concurrency, pytest.mark.postgres]

KILLS = 2
START = 100_000


def killed_somewhere(path: str, series: str, environment: dict[str, str], chance: random.Random) -> int:
    """Start the worker, kill it at a random moment of its work; says which deed it was at."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.tokens.worker", path, series],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    last = ""
    wanted = chance.randint(0, 60)
    for line in process.stdout:
        last = line
        if int(line) >= wanted:
            break
    assert last, process.stderr.read()
    time.sleep(chance.random() * 0.02)
    process.kill()
    for line in process.stdout:
        last = line
    process.stdout.close()
    process.stderr.close()
    assert process.wait() == -9
    return int(last)


def sessions() -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
        )
        return {pid for (pid,) in cursor.fetchall()}


@contextmanager
def until_the_dead_are_gone() -> Iterator[None]:
    """The server finishes or undoes what the killed process had begun."""
    before = sessions()
    yield
    for _ in range(200):
        if sessions() <= before:
            return
        time.sleep(0.05)
    raise AssertionError("the killed process's connection is still there")


def test_what_a_killed_process_began_is_done_exactly_once(
    path: str, child_environment: dict[str, str], race_seeds: range
) -> None:
    new_users(worker.ROWS)
    users = worker.everyone()
    user = users[0]
    tokens.grant(user, START, source="manual")
    reached = set()
    for seed in race_seeds:
        chance = random.Random(f"{path}:{seed}")
        series = f"{path}{seed}"
        for _ in range(KILLS):
            with until_the_dead_are_gone():
                reached.add(killed_somewhere(path, series, child_environment, chance))
            assert list(tokens.reconcile()) == []
        for deed in worker.deeds(series, users):
            deed()
    times = len(race_seeds)
    moved = dict(LedgerEntry.objects.filter(account__user=user).values_list("kind").annotate(n=Sum("amount")))
    assert moved == {
        "grant": START + times * (worker.GRANTED + worker.BATCHES),
        "consume": -times * worker.CONSUMED,
        "refund": times * worker.REFUNDED,
    }
    balance = tokens.balance(user)
    assert (balance.available, balance.held) == (sum(moved.values()), 0)
    assert TokenUsageLog.objects.count() == times * worker.ROUNDS * 2
    assert TokenHold.objects.count() == times * worker.ROUNDS * 2
    assert not TokenHold.objects.filter(status="open").exists()
    assert TokenAllocation.objects.count() == 1 + times * (worker.ROUNDS + worker.BATCHES * worker.ROWS)
    assert AuditEvent.objects.action("tokens.grant_many").count() == times * worker.BATCHES
    assert IdempotencyKey.objects.count() == times * (worker.ROUNDS * 5 + worker.BATCHES * worker.ROWS)
    assert list(tokens.reconcile()) == []
    assert len(reached) > 1
