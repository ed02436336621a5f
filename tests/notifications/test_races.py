"""Workers at once, and workers that are killed: each account is warned, and warned once."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import pytest

from django_token_pricing import notifications, tokens
from django_token_pricing.models import Notification, TokenAccount, WarningState, WarningTally
from tests import world
from tests.conftest import Parallel
from tests.notifications import rules

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.concurrency]

ACCOUNTS = 200


def low_accounts() -> list[Any]:
    users = world.new_users(ACCOUNTS)
    tokens.grant_many([tokens.GrantRow(user, 100) for user in users], source="plan")
    tokens.subtract_many(TokenAccount.objects.all(), 95, reason="Test", actor=None)
    tokens.refresh_summaries()
    return users


def each_once(users: list[Any]) -> None:
    assert Counter(Notification.objects.values_list("user", flat=True)) == Counter(user.pk for user in users)
    assert WarningState.objects.count() == len(users)
    assert WarningTally.objects.get().fired == len(users)


def test_workers_at_once_warn_each_account_once(in_parallel: Parallel[Any]) -> None:
    rules.low(10)
    users = low_accounts()
    answers = in_parallel([notifications.warn] * 4)
    assert sum(answer.warnings for answer in answers) == ACCOUNTS
    each_once(users)


def test_workers_at_once_send_each_mail_once(in_parallel: Parallel[Any], settings: Any) -> None:
    settings.TOKEN_PRICING = {"NOTIFICATION_ADAPTER": "tests.notifications.test_outbox.Host"}
    rules.low(10)
    users = low_accounts()[:30]
    TokenAccount.objects.exclude(user__in=users).update(user=None)
    notifications.warn()
    from tests.notifications.test_outbox import Host

    Host.told.clear()
    answers = in_parallel([notifications.deliver] * 4)
    assert sum(answer.sent for answer in answers) == len(users)
    assert sorted(notice.user.pk for notice in Host.told) == sorted(user.pk for user in users)
    Host.told.clear()


def test_a_killed_worker_leaves_nothing_out_and_nothing_twice(
    child_environment: dict[str, str], race_seeds: range
) -> None:
    rules.low(10)
    users = low_accounts()
    for seed in race_seeds:
        chance = random.Random(seed)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.notifications.worker"],
            env=child_environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _line in range(chance.randint(2, 8))]
        assert lines[0], process.stderr.read()
        time.sleep(chance.random() * 0.02)
        process.kill()
        process.stdout.close()
        process.stderr.close()
        assert process.wait() == -9
        found = Counter(Notification.objects.values_list("user", flat=True))
        assert not found or set(found.values()) == {1}
        assert len(found) < ACCOUNTS
    notifications.warn()
    each_once(users)
