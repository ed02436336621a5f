"""Whoever dies or comes twice, each row of a job is done once; what is over is cleaned up."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db.models import Count
from django.utils import timezone

from django_token_pricing import jobs, tokens
from django_token_pricing.choices import JobStatus
from django_token_pricing.exceptions import JobChanged
from django_token_pricing.jobs import leases
from django_token_pricing.models import AuditEvent, Job, JobFile, JobRow, LedgerEntry, TokenAccount
from django_token_pricing.tokens.account_jobs import GrantToAccounts
from tests import world
from tests.conftest import Parallel

ROWS = 60
GRANT = {"amount": 5, "source": "manual", "priority": 100, "starts_on": None, "expires_on": None}


def asked(rows: int = ROWS) -> Job:
    """A grant to so many accounts, confirmed and not begun."""
    users = world.new_users(rows)
    tokens.grant_many([tokens.GrantRow(user, 1) for user in users], source="plan")
    pks = list(TokenAccount.objects.filter(user__in=users).values_list("pk", flat=True))
    params = {"selection": {"by": "accounts", "pks": pks}, **GRANT}
    job = jobs.create("tokens.grant", params=params, actor=None, key=uuid4(), now=True)
    return jobs.confirm(job, reason="Goodwill", actor=None)


def booked(job: Job) -> list[int]:
    """How many entries of the job each account has."""
    found = LedgerEntry.objects.filter(event=job.event).order_by().values_list("account").annotate(n=Count("pk"))
    return [n for _account, n in found]


def fresh(job: Job) -> Job:
    return Job.objects.get(pk=job.pk)


def silent(job: Job) -> None:
    """As if nobody had heard of its worker for long."""
    Job.objects.filter(pk=job.pk).update(alive_at=timezone.now() - leases.SILENCE - timedelta(seconds=1))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GrantToAccounts, "chunk_size", lambda self, job: 7)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
def test_a_worker_killed_anywhere_leaves_each_row_done_once(
    child_environment: dict[str, str], race_seeds: range
) -> None:
    for seed in race_seeds:
        chance = random.Random(f"job:{seed}")
        job = asked()
        for _kill in range(3):
            silent(job)
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.jobs.worker", str(job.pk), "4"],
                env=child_environment,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            wanted = fresh(job).position + chance.randint(0, 16)
            for line in process.stdout:
                if int(line) >= wanted:
                    break
            time.sleep(chance.random() * 0.02)
            process.kill()
            process.stdout.close()
            process.wait()
            time.sleep(0.2)  # the server ends what the dead one had begun
        silent(job)
        for pk in jobs.sweep():
            jobs.work(pk)
        assert fresh(job).status == JobStatus.DONE
        assert (fresh(job).done, booked(job)) == (ROWS, [1] * ROWS)
        assert list(tokens.reconcile()) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
def test_many_workers_at_once_do_each_row_once(in_parallel: Parallel[Any], small_chunks: None) -> None:
    job = asked()
    answers = in_parallel([lambda: jobs.work(job.pk)] * 6)
    assert answers == [None] * 6
    assert (fresh(job).status, fresh(job).done, booked(job)) == (JobStatus.DONE, ROWS, [1] * ROWS)


@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
def test_of_many_who_confirm_one_wins(in_parallel: Parallel[Any]) -> None:
    params = {
        "selection": {"by": "accounts", "pks": [tokens.grant(world.new_user(), 1, source="plan").account]},
        **GRANT,
    }
    job = jobs.create("tokens.grant", params=params, actor=None, key=uuid4(), now=True)
    answers = in_parallel([lambda: jobs.confirm(job, reason="Goodwill", actor=None)] * 6)
    assert sum(isinstance(answer, Job) for answer in answers) == 1
    assert AuditEvent.objects.action("jobs").count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
def test_one_form_sent_many_times_at_once_is_one_job(in_parallel: Parallel[Any]) -> None:
    key = uuid4()
    params = {"selection": {"by": "accounts", "pks": []}, **GRANT}
    in_parallel([lambda: jobs.create("tokens.grant", params=params, actor=None, key=key)] * 6)
    assert Job.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
def test_cancelling_under_way_leaves_what_is_done_and_nothing_half(
    in_parallel: Parallel[Any], small_chunks: None
) -> None:
    job = asked()

    def cancel() -> None:
        while not fresh(job).done:
            time.sleep(0.001)
        with suppress(JobChanged):
            jobs.cancel(job, actor=None)

    in_parallel([lambda: jobs.work(job.pk), cancel])
    job = fresh(job)
    assert job.status in (JobStatus.CANCELED, JobStatus.DONE)
    assert booked(job) == [1] * job.done
    jobs.work(job.pk)
    assert booked(job) == [1] * job.done


@pytest.mark.django_db
def test_a_worker_that_was_taken_over_stops(small_chunks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    job = asked(20)
    step = GrantToAccounts.step

    def slow(self: Any, one: Job) -> bool:
        goes_on = step(self, one)
        if not taken:
            taken.append(one.pk)
        return goes_on

    taken: list[int] = []
    monkeypatch.setattr(GrantToAccounts, "step", slow)
    Job.objects.filter(pk=job.pk).update(worker=uuid4(), alive_at=timezone.now())
    jobs.work(job.pk)
    assert not taken
    assert jobs.sweep() == []
    silent(job)
    assert jobs.sweep() == [job.pk]
    jobs.work(job.pk)
    assert fresh(job).status == JobStatus.DONE


@pytest.mark.django_db
def test_an_error_of_the_software_stops_the_job_where_it_is(
    small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = asked(20)
    step = GrantToAccounts.step

    def broken(self: Any, one: Job) -> bool:
        if one.position >= 14:
            raise ZeroDivisionError
        return step(self, one)

    monkeypatch.setattr(GrantToAccounts, "step", broken)
    with pytest.raises(ZeroDivisionError):
        jobs.work(job.pk)
    job = fresh(job)
    assert (job.status, job.done, booked(job)) == (JobStatus.FAILED, 14, [1] * 14)
    assert "log" in job.problem


@pytest.mark.django_db
def test_a_row_that_cannot_be_done_stands_alone(small_chunks: None) -> None:
    job = asked(20)
    full = TokenAccount.objects.get(pk=job.rows.get(number=11).target)
    tokens.grant(full, 2**63 - 1 - 4, source="manual")
    jobs.work(job.pk)
    job = fresh(job)
    assert (job.status, job.done, job.failed) == (JobStatus.DONE, 19, 1)
    assert job.rows.exclude(code="").get().number == 11


@pytest.mark.django_db
def test_rows_and_files_go_when_the_job_has_been_over_for_long(settings: Any) -> None:
    job = asked(3)
    jobs.store(job, [b"x" * 600_000])
    assert b"".join(jobs.pieces(job)) == b"x" * 600_000
    jobs.work(job.pk)
    jobs.sweep()
    assert (JobRow.objects.count(), JobFile.objects.count()) == (3, 3)
    settings.TOKEN_PRICING = {"JOB_RETENTION": timedelta(0)}
    jobs.sweep()
    assert (JobRow.objects.count(), JobFile.objects.count()) == (0, 0)
    assert fresh(job).done == 3


@pytest.mark.django_db
def test_a_preview_that_nobody_confirms_is_dropped() -> None:
    params = {"selection": {"by": "accounts", "pks": []}, **GRANT}
    job = jobs.create("tokens.grant", params=params, actor=None, key=uuid4(), now=True)
    jobs.sweep()
    assert fresh(job).status == JobStatus.READY
    Job.objects.update(alive_at=timezone.now() - timedelta(days=3))
    jobs.sweep()
    assert fresh(job).status == JobStatus.CANCELED


@pytest.mark.django_db
def test_the_file_is_read_from_any_place() -> None:
    job = jobs.create(
        "tokens.grant", params={"selection": {"by": "accounts", "pks": []}, **GRANT}, actor=None, key=uuid4(), now=True
    )
    content = random.Random(1).randbytes(700_000)
    jobs.store(job, [content[:100], content[100:]])
    with jobs.FileReader(job) as file:
        assert file.read(10) == content[:10]
        file.seek(-10, 2)
        assert file.read() == content[-10:]
        file.seek(262_140)
        read = b""
        while part := file.read(100_000):
            read += part
        assert read == content[262_140:]
