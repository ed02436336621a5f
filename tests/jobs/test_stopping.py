"""What stops a job by itself: too many errors, and a database that is away; and how it goes on."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.db import OperationalError, connections
from django.utils import timezone

from django_token_pricing import jobs, tokens
from django_token_pricing.choices import JobStatus
from django_token_pricing.exceptions import InvalidInput
from django_token_pricing.jobs import engine
from django_token_pricing.jobs.progress import paced
from django_token_pricing.models import AuditEvent, Job
from django_token_pricing.tokens.account_jobs import GrantToAccounts
from tests.jobs.test_account_jobs import accounts, prepared
from tests.jobs.test_engine import asked, booked, fresh

pytestmark = pytest.mark.django_db


def short(enough: int, too_few: int, most_errors: int | None, **more: Any) -> Job:
    """A subtraction, confirmed, that so many accounts can give, and so many after them cannot."""
    chosen = accounts(*[100] * enough, *[1] * too_few)
    job = prepared("tokens.subtract", chosen, amount=50, at_most=False, **more)
    return jobs.confirm(job, reason="Correction", actor=None, most_errors=most_errors)


def worked(job: Job) -> Job:
    jobs.work(job.pk)
    return fresh(job)


def test_a_job_pauses_at_more_errors_than_allowed_and_says_so() -> None:
    job = worked(short(90, 20, 9))
    assert (job.status, job.done, job.failed, job.to_go) == (JobStatus.PAUSED, 90, 10, 10)
    assert "10 of 100 rows" in job.problem
    assert AuditEvent.objects.action("jobs.pause").get().target_id == str(job.pk)
    assert job.worker is None


def test_the_first_rows_are_done_alone_so_that_a_deed_that_goes_wrong_does_not_go_far() -> None:
    job = worked(short(0, 130, 5))
    assert (job.status, job.decided) == (JobStatus.PAUSED, 100)


def test_as_many_errors_as_allowed_do_not_stop_it() -> None:
    job = worked(short(90, 10, 10))
    assert (job.status, job.failed, job.problem) == (JobStatus.DONE, 10, "")


def test_without_a_limit_it_goes_on_whatever_fails() -> None:
    assert worked(short(0, 110, None)).status == JobStatus.DONE


def test_what_paused_by_itself_goes_on_without_the_limit_when_resumed() -> None:
    job = worked(short(90, 20, 9))
    job = worked(jobs.resume(job, actor=None))
    assert (job.status, job.failed, job.problem, job.most_errors) == (JobStatus.DONE, 20, "", None)


def test_what_somebody_paused_keeps_its_limit_when_resumed() -> None:
    job = short(90, 20, 9)
    job = jobs.resume(jobs.pause(job, actor=None), actor=None)
    assert worked(job).status == JobStatus.PAUSED


def test_rows_that_the_preview_set_aside_are_no_errors() -> None:
    chosen = accounts(*[100] * 100)
    for account in chosen[:40]:
        account.user.delete()
    job = prepared("tokens.subtract", chosen, amount=50, at_most=False)
    assert job.failed == 40
    job = worked(jobs.confirm(job, reason="Correction", actor=None, most_errors=5))
    assert (job.status, job.done, job.failed, job.problem) == (JobStatus.DONE, 60, 40, "")


def test_when_all_rows_are_decided_there_is_nothing_to_stop_and_it_says_how_many_failed() -> None:
    job = worked(short(2, 2, 5))
    assert (job.status, job.done, job.failed) == (JobStatus.DONE, 2, 2)
    assert "2 of 4 rows" in job.problem


def test_a_share_that_makes_no_sense_is_refused() -> None:
    job = prepared("tokens.subtract", accounts(100), amount=50, at_most=False)
    for share in (-1, 101):
        with pytest.raises(InvalidInput):
            jobs.confirm(job, reason="Correction", actor=None, most_errors=share)
    assert fresh(job).status == JobStatus.READY


# A database that is away


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "FIRST_WAIT", 0)
    monkeypatch.setattr(GrantToAccounts, "chunk_size", lambda self, job: 7)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("when", ["before the chunk", "after the chunk"])
def test_a_connection_that_breaks_in_a_chunk_loses_and_repeats_nothing(
    when: str, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = asked(20)
    step = GrantToAccounts.step
    broken: list[int] = []

    def breaking(self: Any, one: Job) -> bool:
        goes_on = step(self, one) if when == "after the chunk" else True
        if len(broken) < 2 and one.position >= 7:
            broken.append(one.position)
            connections["default"].connection.close()
        return goes_on if when == "after the chunk" else step(self, one)

    monkeypatch.setattr(GrantToAccounts, "step", breaking)
    jobs.work(job.pk)
    assert len(broken) == 2
    assert (fresh(job).status, fresh(job).done, booked(job)) == (JobStatus.DONE, 20, [1] * 20)
    assert not list(tokens.reconcile())


@pytest.mark.django_db(transaction=True)
def test_a_commit_whose_answer_is_lost_is_not_done_again(at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    job = asked(20)
    commit = connections["default"].commit
    lost: list[int] = []
    in_step: list[bool] = []
    step = GrantToAccounts.step

    def noted(self: Any, one: Job) -> bool:
        in_step.append(True)
        return step(self, one)

    def losing() -> None:
        commit()
        if in_step and len(lost) < 3:
            lost.append(1)
            raise OperationalError("the answer was lost")

    monkeypatch.setattr(GrantToAccounts, "step", noted)
    monkeypatch.setattr(connections["default"], "commit", losing)
    jobs.work(job.pk)
    monkeypatch.undo()
    assert len(lost) == 3
    assert (fresh(job).status, fresh(job).done, booked(job)) == (JobStatus.DONE, 20, [1] * 20)


@pytest.mark.django_db(transaction=True)
def test_a_job_whose_chunk_finds_no_lock_is_left_for_the_next_worker(
    at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = asked(20)
    step = GrantToAccounts.step

    def deadlocked(self: Any, one: Job) -> bool:
        if one.position >= 7:
            raise OperationalError("deadlock detected")
        return step(self, one)

    monkeypatch.setattr(GrantToAccounts, "step", deadlocked)
    with pytest.raises(OperationalError):
        jobs.work(job.pk)
    assert (fresh(job).status, fresh(job).worker, fresh(job).done) == (JobStatus.RUNNING, None, 7)
    assert jobs.sweep() == [job.pk]
    monkeypatch.setattr(GrantToAccounts, "step", step)
    jobs.work(job.pk)
    assert (fresh(job).status, booked(job)) == (JobStatus.DONE, [1] * 20)


# Progress


def test_the_rate_is_that_of_the_last_minute_and_not_of_the_pause_before() -> None:
    job = Job(status=JobStatus.RUNNING, total=10_000, done=3_000, pace=[[1_000.0, 1_000], [1_020.0, 3_000]])
    job.alive_at = timezone.now()
    found = jobs.progress(job)
    assert (found.rate, found.left and found.left.total_seconds()) == (100.0, 70.0)
    assert jobs.rates([[0, 0], [2, 20], [4, 100]]) == [10, 40]


def test_the_pace_is_kept_short(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    pace: list[list[float]] = []
    monkeypatch.setattr(time, "time", lambda: now)
    for decided in range(2_000):
        now += 0.1
        pace = paced(pace, decided)
    assert len(pace) <= 32
    assert pace[-1] == [round(now, 2), 1_999]
    assert 55 <= pace[-1][0] - pace[0][0] <= 62


def test_a_job_notes_its_pace_chunk_by_chunk(at_once: None) -> None:
    job = worked(asked(20))
    assert (job.pace[0][1], job.pace[-1][1]) == (0, 20)
