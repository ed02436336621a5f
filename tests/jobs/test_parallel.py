"""So many jobs are worked on at a time, exactly; the others wait, say so, and are called when their turn comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from django_token_pricing import jobs, signals
from django_token_pricing.choices import JobStatus
from django_token_pricing.jobs import leases
from django_token_pricing.jobs.engine import database
from django_token_pricing.models import Job
from django_token_pricing.tokens.account_jobs import GrantToAccounts
from tests.conftest import Parallel
from tests.jobs.test_engine import asked, booked, fresh, silent

WORKERS = 16


def begun(job: Job, *, ago: timedelta = timedelta(0)) -> None:
    """As if a worker had it."""
    Job.objects.filter(pk=job.pk).update(worker=uuid4(), status=JobStatus.RUNNING, alive_at=timezone.now() - ago)


@pytest.fixture
def called() -> Iterator[list[int]]:
    """The jobs for which a worker is called."""
    numbers: list[int] = []

    def receive(sender: Any, job: int, **kwargs: Any) -> None:
        numbers.append(job)

    signals.job_waiting.connect(receive)
    yield numbers
    signals.job_waiting.disconnect(receive)


@pytest.fixture
def two_at_a_time(settings: Any) -> None:
    settings.TOKEN_PRICING = {"JOB_PARALLEL": 2}


@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
def test_many_workers_never_work_on_more_jobs_than_allowed(
    in_parallel: Parallel[Any], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TOKEN_PRICING = {"JOB_PARALLEL": 3}
    queue = [asked(2) for _ in range(WORKERS)]
    seen: list[int] = []
    lock = threading.Lock()
    step = GrantToAccounts.step
    under_way = set()

    def slow(self: Any, job: Job) -> bool:
        with lock:
            under_way.add(job.pk)
            seen.append(len(under_way))
        time.sleep(0.02)
        goes_on = step(self, job)
        if not goes_on:
            with lock:
                under_way.discard(job.pk)
        return goes_on

    monkeypatch.setattr(GrantToAccounts, "step", slow)
    monkeypatch.setattr(GrantToAccounts, "chunk_size", lambda self, job: 1)
    # What a broker does: who is called works on it.
    calls: list[int] = []

    def receive(sender: Any, job: int, **kwargs: Any) -> None:
        calls.append(job)

    def worker(job: Job) -> None:
        jobs.work(job.pk)
        while calls:
            try:
                pk = calls.pop()
            except IndexError:
                return
            jobs.work(pk)

    signals.job_waiting.connect(receive)
    try:
        answers = in_parallel([lambda job=job: worker(job) for job in queue])  # type: ignore[misc]
        assert answers == [None] * WORKERS
        assert max(seen) <= 3
        while calls:
            jobs.work(calls.pop())
    finally:
        signals.job_waiting.disconnect(receive)
    assert {fresh(job).status for job in queue} == {JobStatus.DONE}
    assert all(booked(job) == [1, 1] for job in queue)


@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
def test_as_many_as_allowed_are_taken_when_all_come_at_once(in_parallel: Parallel[Any], settings: Any) -> None:
    settings.TOKEN_PRICING = {"JOB_PARALLEL": 3}
    queue = [asked(1) for _ in range(WORKERS)]
    using = database()
    takes = [lambda job=job: leases.take(job.pk, uuid4(), using, is_counted=True) for job in queue]  # type: ignore[misc]
    answers = in_parallel(takes)
    assert sorted(map(str, answers)) == ["False"] * 13 + ["True"] * 3
    assert leases.busy(using) == 3


@pytest.mark.django_db
def test_a_job_above_the_limit_waits_and_says_so(two_at_a_time: None) -> None:
    running = [asked(2), asked(2)]
    for job in running:
        begun(job)
    job = asked(2)
    jobs.work(job.pk)
    assert fresh(job).status == JobStatus.QUEUED
    assert jobs.progress(fresh(job)).others == 2
    silent(running[0])
    jobs.work(job.pk)
    assert fresh(job).status == JobStatus.DONE
    assert jobs.progress(fresh(job)).others == 0


@pytest.mark.django_db
def test_who_previews_a_few_rows_does_not_wait_for_others(two_at_a_time: None) -> None:
    for job in (asked(1), asked(1)):
        begun(job)
    params = {"selection": {"by": "accounts", "pks": []}, "amount": 5, "source": "manual", "priority": 100}
    job = jobs.create("tokens.grant", params=params, actor=None, key=uuid4(), now=True)
    assert fresh(job).status == JobStatus.READY


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", ["ends", "pauses", "is cancelled", "fails"])
def test_the_oldest_that_waits_is_called_when_another(
    how: str, two_at_a_time: None, called: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    other, one, oldest, younger = (asked(2) for _ in range(4))
    begun(other)
    if how in ("pauses", "is cancelled"):
        begun(one)
    called.clear()
    if how == "ends":
        jobs.work(one.pk)
    elif how == "pauses":
        jobs.pause(one, actor=None)
    elif how == "is cancelled":
        jobs.cancel(one, actor=None)
    else:

        def broken(self: Any, job: Job) -> bool:
            raise ZeroDivisionError

        monkeypatch.setattr(GrantToAccounts, "step", broken)
        with pytest.raises(ZeroDivisionError):
            jobs.work(one.pk)
    assert called == [oldest.pk]
    assert fresh(younger).status == JobStatus.QUEUED


@pytest.mark.django_db
def test_the_sweep_names_all_that_wait_whoever_died(two_at_a_time: None) -> None:
    dead, waiting = asked(2), asked(2)
    begun(dead)
    assert jobs.sweep() == [waiting.pk]
    silent(dead)
    assert jobs.sweep() == [dead.pk, waiting.pk]


@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
def test_a_worker_whose_chunk_takes_long_keeps_its_job_and_holds_nobody_up(
    in_parallel: Parallel[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent for long, and alive: its row is locked. Who wants the job leaves, and others are taken meanwhile."""
    slow_one, other = asked(4), asked(2)
    step = GrantToAccounts.step
    inside, goes_on = threading.Event(), threading.Event()

    def slow(self: Any, job: Job) -> bool:
        if job.pk == slow_one.pk:
            inside.set()
            goes_on.wait(20)
        return step(self, job)

    monkeypatch.setattr(GrantToAccounts, "step", slow)
    monkeypatch.setattr(leases, "SILENCE", timedelta(milliseconds=300))

    def rival() -> float:
        inside.wait(20)
        time.sleep(0.5)
        start = time.monotonic()
        try:
            jobs.work(slow_one.pk)
            jobs.work(other.pk)
            return time.monotonic() - start
        finally:
            goes_on.set()

    if leases.connections["default"].vendor == "sqlite":
        pytest.skip("SQLite has one writer: others wait for the chunk")
    answers = in_parallel([lambda: jobs.work(slow_one.pk), rival])
    assert answers[0] is None
    assert isinstance(answers[1], float)
    assert answers[1] < 10
    assert (fresh(slow_one).status, booked(slow_one)) == (JobStatus.DONE, [1] * 4)
    assert (fresh(other).status, booked(other)) == (JobStatus.DONE, [1] * 2)


@pytest.mark.django_db
def test_a_worker_whose_clock_is_wrong_is_not_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    job = asked(6)
    seen: list[list[int]] = []
    monkeypatch.setattr(GrantToAccounts, "chunk_size", lambda self, job: 2)
    step = GrantToAccounts.step

    def swept(self: Any, one: Job) -> bool:
        seen.append(jobs.sweep())
        return step(self, one)

    monkeypatch.setattr(GrantToAccounts, "step", swept)
    real = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: real() - timedelta(hours=1))
    jobs.work(job.pk)
    monkeypatch.setattr(timezone, "now", real)
    assert fresh(job).status == JobStatus.DONE
    assert seen
    assert not any(seen)
