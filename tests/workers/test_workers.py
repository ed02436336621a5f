"""Real workers and beats on real brokers: whoever is killed, each row is done once, and what is due is done once."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models import Count
from django.utils import timezone

from django_token_pricing import jobs, tasks, tokens
from django_token_pricing.choices import EntryKind, JobStatus
from django_token_pricing.models import Job, LedgerEntry, ScheduledRun, TokenAccount
from tests import world
from tests.jobs.test_engine import GRANT, fresh, silent
from tests.workers.brokers import Files
from tests.workers.conftest import Crew

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
]

ROWS = 2_000
on_each_broker = pytest.mark.parametrize("crew", ["redis", "rabbitmq", "files"], indirect=True)


@pytest.fixture(autouse=True)
def _where() -> None:
    if connection.vendor == "mysql":
        pytest.skip("PostgreSQL and SQLite stand for all")


def chosen(rows: int) -> list[int]:
    users = world.new_users(rows)
    tokens.grant_many([tokens.GrantRow(user, 1) for user in users], source="plan")
    return list(TokenAccount.objects.filter(user__in=users).values_list("pk", flat=True))


def asked(rows: int) -> Job:
    params = {"selection": {"by": "accounts", "pks": chosen(rows)}, **GRANT}
    return jobs.create("tokens.grant", params=params, actor=None, key=uuid4())


def has(job: Job, status: JobStatus) -> bool:
    return fresh(job).status == status


def once_each(job: Job, rows: int) -> None:
    job = fresh(job)
    assert (job.status, job.total, job.done, job.failed) == (JobStatus.DONE, rows, rows, 0)
    entries = LedgerEntry.objects.filter(event=job.event).order_by().values("account").annotate(n=Count("pk"))
    assert set(entries.values_list("n", flat=True)) == {1}
    assert entries.count() == rows
    assert not list(tokens.reconcile())


@on_each_broker
def test_a_grant_whose_worker_is_killed_is_done_by_the_next_once(crew: Crew) -> None:
    if connection.vendor == "sqlite" and not isinstance(crew.broker, Files):
        pytest.skip("SQLite goes with the file system, as in the demo")
    rows = ROWS if connection.vendor == "postgresql" else 800
    first = crew.worker(chunk=40)
    job = asked(rows)
    crew.until(lambda: has(job, JobStatus.READY))
    job = jobs.confirm(job, reason="Goodwill", actor=None)
    crew.until(lambda: fresh(job).position >= rows // 10)
    crew.kill(first)
    time.sleep(0.2)  # the server ends what the dead one had begun
    found = fresh(job)
    assert found.status == JobStatus.RUNNING
    assert 0 < found.done < rows
    silent(job)
    crew.worker()
    tasks.jobs.sweep.delay()
    crew.until(lambda: has(job, JobStatus.DONE))
    once_each(job, rows)


@pytest.mark.postgres
def test_two_beats_and_two_workers_do_what_is_due_once(crew: Crew) -> None:
    accounts = chosen(40)
    ends = timezone.now() + timedelta(seconds=2)
    tokens.grant_many(TokenAccount.objects.filter(pk__in=accounts), 5, source="plan", expires_at=ends)
    queue = [asked(60) for _ in range(3)]
    for _pair in range(2):
        crew.worker(chunk=10, processes=2)
        crew.beat()
    crew.until(lambda: all(has(job, JobStatus.READY) for job in queue))
    for job in queue:
        jobs.confirm(job, reason="Goodwill", actor=None)
    crew.until(lambda: all(has(job, JobStatus.DONE) for job in queue))
    lapses = LedgerEntry.objects.filter(account__in=accounts, kind=EntryKind.EXPIRE)
    crew.until(lambda: lapses.count() >= 40)
    before = ScheduledRun.objects.count()
    crew.until(lambda: ScheduledRun.objects.count() > before + 4)
    found = list(lapses.order_by().values_list("allocation").annotate(n=Count("pk")).values_list("n", flat=True))
    assert found == [1] * 40
    for job in queue:
        once_each(job, 60)


@pytest.mark.postgres
def test_a_broker_that_is_gone_for_a_while_loses_no_job(crew: Crew) -> None:
    broker: Any = crew.broker
    crew.worker(chunk=20)
    under_way = asked(1_200)
    crew.until(lambda: has(under_way, JobStatus.READY))
    jobs.confirm(under_way, reason="Goodwill", actor=None)
    crew.until(lambda: fresh(under_way).position > 0)
    broker.kill()
    start = time.monotonic()
    meanwhile = asked(30)
    assert time.monotonic() - start < 5, "who asks does not wait for the broker"
    # What is under way needs the database alone.
    crew.until(lambda: has(under_way, JobStatus.DONE))
    assert has(meanwhile, JobStatus.PREPARING)
    broker.start()
    crew.beat()
    crew.until(lambda: has(meanwhile, JobStatus.READY))
    jobs.confirm(meanwhile, reason="Goodwill", actor=None)
    crew.until(lambda: has(meanwhile, JobStatus.DONE))
    once_each(under_way, 1_200)
    once_each(meanwhile, 30)
