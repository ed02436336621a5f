"""On real connections: however many look at what is due, each period is granted once, and no token is out of sight."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections import Counter
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection

from django_token_pricing import jobs, tokens
from django_token_pricing.automation import renewals
from django_token_pricing.automation.renewals import runs
from django_token_pricing.exceptions import InsufficientTokens
from django_token_pricing.jobs import leases
from django_token_pricing.models import Job, RenewalPeriod, SubscriptionMirror, TokenAllocation
from tests.automation.subscribers import new_policy, renew, subscribe
from tests.conftest import Parallel

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.concurrency]


def subscribed(number: int, **policy: object) -> list[SubscriptionMirror]:
    """Subscriptions whose second period begins now."""
    made = new_policy(**{"unit": "day", "tokens": 100, **policy})
    return [subscribe(made, now() - timedelta(days=1)) for _number in range(number)]


def now() -> datetime:
    return datetime.now(timezone.utc)


def test_two_beats_and_ten_workers_grant_each_period_once(in_parallel: Parallel[Job | None]) -> None:
    subscriptions = subscribed(40)
    as_of = now()
    beats = [partial(renewals.start, as_of=as_of, now=True) for _beat in range(2)]
    pks = [subscription.pk for subscription in subscriptions]
    chosen = [
        partial(renewals.start_chosen, pks, as_of=as_of, actor=None, key=uuid4(), now=True) for _worker in range(10)
    ]
    answers = in_parallel([*beats, *chosen])
    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    for pk in Job.objects.values_list("pk", flat=True):
        jobs.work(pk)
    assert Counter(RenewalPeriod.objects.values_list("subscription", flat=True)) == Counter(pks)
    assert TokenAllocation.objects.filter(source="plan").count() == 40
    assert list(tokens.reconcile()) == []


def test_a_consumer_beside_the_rollover_sees_the_old_lot_or_the_new_one(
    in_parallel: Parallel[object], race_seeds: range
) -> None:
    for seed in race_seeds:
        subscription = subscribe(new_policy(rollover="all"), now() - timedelta(hours=1))
        renew(now())
        lot = TokenAllocation.objects.get(account__user=subscription.user)
        done = threading.Event()

        def carry(lot: int = lot.pk, done: threading.Event = done) -> None:
            carry = tokens.Carry(lots=[lot], ended_at=now() + timedelta(days=1), starts_at=now(), expires_at=None)
            tokens.rollover_many([carry])
            done.set()

        def spend(done: threading.Event = done, seed: int = seed, user: Any = subscription.user) -> int:
            spent = 0
            while spent < 300 and not (done.is_set() and spent > 100):
                try:
                    tokens.consume(user, 1, key=f"{seed}:{uuid4()}")
                except InsufficientTokens as error:
                    raise AssertionError(f"{error} while a lot was carried over") from error
                spent += 1
            return spent

        answers = in_parallel([spend, carry])
        assert not any(isinstance(answer, BaseException) for answer in answers), answers
        assert tokens.balance(subscription.user).available == 1_000 - int(str(answers[0]))
    assert list(tokens.reconcile()) == []


@pytest.mark.postgres
def test_a_worker_killed_anywhere_leaves_each_period_granted_once(
    child_environment: dict[str, str], race_seeds: range
) -> None:
    chance = random.Random("renewal")
    for _seed in race_seeds:
        subscriptions = subscribed(40, rollover="all")
        as_of = now()
        for _kill in range(3):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.automation.worker", as_of.isoformat(), "5"],
                env=child_environment,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            for _line in range(chance.randint(1, 4)):
                process.stdout.readline()
            process.kill()
            process.communicate()
            Job.objects.filter(kind=runs.KIND, worker__isnull=False).update(alive_at=as_of - 2 * leases.SILENCE)
        for pk in jobs.sweep():
            jobs.work(pk)
        renew(as_of)
        rows = RenewalPeriod.objects.filter(subscription__in=subscriptions, outcome="granted")
        assert sorted(rows.values_list("subscription", flat=True)) == [one.pk for one in subscriptions]
    assert connection.in_atomic_block is False
    assert list(tokens.reconcile()) == []
