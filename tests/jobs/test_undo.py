"""Undo takes back what is left of what a job granted, once, and says of the rest where it went."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db.models import Sum
from django.utils import timezone

from django_token_pricing import jobs, tokens
from django_token_pricing.choices import EntryKind, JobStatus
from django_token_pricing.exceptions import InvalidInput, JobChanged
from django_token_pricing.models import Job, LedgerEntry, TokenAccount, TokenAllocation
from django_token_pricing.tokens import bulk
from django_token_pricing.tokens.undoing import UndoGrants
from tests import world
from tests.conftest import Parallel
from tests.jobs.test_account_jobs import GRANT, accounts, available, done, prepared
from tests.jobs.test_engine import booked, fresh, silent

pytestmark = pytest.mark.django_db


def granted(*balances: int, **params: Any) -> tuple[list[TokenAccount], Job]:
    """Accounts with these tokens that a job has granted 70 each."""
    chosen = accounts(*balances)
    return chosen, done(prepared("tokens.grant", chosen, **{**GRANT, **params}))


def lot(job: Job, account: TokenAccount) -> TokenAllocation:
    return TokenAllocation.objects.get(event=job.event, account=account)


def undone(job: Job, **more: Any) -> Job:
    found = jobs.undo(job, reason="Wrong list", actor=None, key=uuid4(), now=True, **more)
    found.refresh_from_db()
    return found


def codes(job: Job) -> dict[int, list[str]]:
    return {row.number: [problem["code"] for problem in row.problems or []] for row in job.rows.exclude(code="")}


@pytest.mark.django_db(transaction=True)
def test_what_a_job_granted_is_taken_back_and_the_audit_trail_says_of_which_job() -> None:
    chosen, job = granted(10, 0, 500)
    undo = undone(job)
    assert (undo.status, undo.total, undo.preview["taken"], undo.preview["spent"]) == (JobStatus.READY, 3, 210, 0)
    assert available(chosen) == [80, 70, 570]
    undo = done(undo)
    assert (undo.status, undo.done, undo.result, available(chosen)) == (JobStatus.DONE, 3, {"taken": 210}, [10, 0, 500])
    assert (undo.undo_of, job.undone_by) == (job, undo)
    assert undo.event is not None
    assert (undo.event.action, undo.event.reason) == ("jobs.tokens.undo", "Goodwill")
    assert (undo.event.changes["job"], undo.event.changes["event"]) == ([None, job.pk], [None, job.event_id])
    taken = LedgerEntry.objects.filter(event=undo.event)
    assert {entry.allocation.event_id for entry in taken} == {job.event_id}
    assert not list(tokens.reconcile())


@pytest.mark.django_db(transaction=True)
def test_what_is_spent_held_expired_or_taken_stays_and_is_listed_with_the_reason() -> None:
    chosen, job = granted(0, 0, 0, 0, 0)
    whole, spent, partly, held, voided = chosen
    lapsed = accounts(0)[0]
    assert job.event is not None
    ends = timezone.now() + timedelta(seconds=1)
    bulk.grant_for(job.event, [tokens.GrantRow(lapsed.user, 70)], source="manual", expires_at=ends)
    chosen.append(lapsed)
    tokens.consume(spent.user, 70, key="use:1")
    tokens.consume(partly.user, 30, key="use:2")
    tokens.hold(held.user, 20, key="hold:1")
    tokens.void(lot(job, voided), reason="Wrong", actor=None)
    time.sleep(max((ends - timezone.now()).total_seconds(), 0) + 0.01)
    undo = undone(job)
    found = {name: undo.preview[name] for name in ("granted", "taken", "spent", "held", "expired", "moved")}
    assert found == {"granted": 420, "taken": 160, "spent": 100, "held": 20, "expired": 70, "moved": 70}
    shown = {(row["taken"], row["held"], row["is_expired"]) for row in undo.preview["sample"]}
    assert {(70, 0, False), (40, 0, False), (0, 0, False), (50, 20, False), (0, 0, True)} <= shown
    undo = done(undo)
    assert (undo.done, undo.skipped, undo.failed) == (3, 3, 0)
    assert undo.result == {"taken": 160, "noted": 5}
    numbers = dict(undo.rows.values_list("target", "number"))
    said = {account.pk: codes(undo).get(numbers[lot(job, account).pk]) for account in chosen}
    assert said == {
        whole.pk: None,
        spent.pk: ["tokens_spent"],
        partly.pk: ["tokens_spent"],
        held.pk: ["tokens_held"],
        voided.pk: ["tokens_moved"],
        lapsed.pk: ["tokens_expired"],
    }
    assert tokens.balance(held.user).held == 20
    tokens.expire(as_of=timezone.now())
    assert not list(tokens.reconcile())


def test_what_setting_a_balance_granted_is_taken_back_and_what_it_took_stays() -> None:
    chosen = accounts(10, 500)
    job = done(prepared("tokens.set", chosen, amount=100))
    undo = done(undone(job))
    assert (undo.done, undo.result, available(chosen)) == (1, {"taken": 90}, [10, 100])


@pytest.mark.parametrize(("kind", "params"), [("subtract", {"amount": 5, "at_most": False}), ("expire", {})])
def test_what_was_taken_is_not_given_back_and_the_job_says_why(kind: str, params: dict[str, Any]) -> None:
    job = done(prepared(f"tokens.{kind}", accounts(10), **{"of_source": None, **params}))
    assert "as new lots" in jobs.undoable(job).refusal
    with pytest.raises(InvalidInput):
        undone(job)


@pytest.mark.django_db(transaction=True)
def test_lots_with_reasons_of_their_own_are_taken_back_too() -> None:
    chosen, job = granted(0)
    assert job.event is not None
    rows = [bulk.GrantRow(chosen[0].user, 11, reason="ticket 7"), bulk.GrantRow(chosen[0].user, 12)]
    bulk.grant_for(job.event, rows, source="import")
    undo = done(undone(job))
    assert (undo.total, undo.result, available(chosen)) == (3, {"taken": 93}, [0])
    assert not list(tokens.reconcile())


def test_a_job_says_how_much_of_it_can_be_taken_back_and_until_when(settings: Any) -> None:
    chosen, job = granted(0, 0)
    tokens.consume(chosen[0].user, 30, key="use:1")
    assert job.finished_at is not None
    found = jobs.undoable(job)
    assert (found.refusal, found.left, found.whole) == ("", 110, 140)
    assert found.until == job.finished_at + timedelta(days=30)
    settings.TOKEN_PRICING = {"JOB_RETENTION": timedelta(0)}
    assert "is over" in jobs.undoable(job).refusal


def test_lots_that_end_before_the_retention_does_say_so() -> None:
    day = (timezone.now() + timedelta(days=3)).date().isoformat()
    chosen, job = granted(0, expires_on=day)
    assert jobs.undoable(job).until == lot(job, chosen[0]).expires_at


def test_a_job_that_is_not_over_or_did_nothing_cannot_be_taken_back() -> None:
    job = prepared("tokens.grant", accounts(1), **GRANT)
    assert "not over" in jobs.undoable(job).refusal
    job = jobs.cancel(job, actor=None)
    assert jobs.undoable(job).refusal


def test_a_job_is_taken_back_once() -> None:
    _chosen, job = granted(0)
    key = uuid4()
    first = jobs.undo(job, reason="", actor=None, key=key, now=True)
    assert jobs.undo(job, reason="", actor=None, key=key, now=True) == first
    with pytest.raises(JobChanged):
        undone(job)
    done(fresh(first))
    with pytest.raises((JobChanged, InvalidInput)):
        undone(job)


def test_an_undo_that_was_dropped_or_cancelled_can_be_asked_for_again() -> None:
    chosen, job = granted(0, 0)
    first = undone(job)
    jobs.cancel(first, actor=None)
    second = undone(job)
    assert (fresh(first).undo_of, second.undo_of) == (None, job)
    assert fresh(first).params == {"undoes": job.pk}
    assert done(second).result == {"taken": 140}
    assert available(chosen) == [0, 0]


@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
def test_of_many_who_ask_to_take_back_one_wins(in_parallel: Parallel[Any]) -> None:
    _chosen, job = granted(0)
    answers = in_parallel([lambda: undone(job)] * 6)
    assert sum(isinstance(answer, Job) for answer in answers) == 1
    assert sum(isinstance(answer, JobChanged) for answer in answers) == 5
    assert Job.objects.filter(undo_of=job).count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
def test_tokens_spent_while_they_are_taken_back_are_spent_or_taken_never_both(
    in_parallel: Parallel[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(UndoGrants, "chunk", 3)
    chosen, job = granted(*[0] * 24)
    undo = jobs.confirm(undone(job), reason="Wrong list", actor=None)

    def spend() -> int:
        spent = 0
        for account in reversed(chosen):
            try:
                spent += tokens.consume(account.user, 50, key=f"use:{account.pk}").amount
            except tokens.InsufficientTokens:
                continue
        return spent

    answers = in_parallel([lambda: jobs.work(undo.pk), spend])
    undo = fresh(undo)
    assert undo.status == JobStatus.DONE
    assert isinstance(answers[1], int)
    assert undo.result["taken"] + answers[1] <= 24 * 70
    left = sum(available(chosen))
    assert undo.result["taken"] + answers[1] + left == 24 * 70
    assert not list(tokens.reconcile())


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
def test_an_undo_whose_worker_is_killed_takes_each_lot_back_once(child_environment: dict[str, str]) -> None:
    users = world.new_users(40)
    tokens.grant_many([tokens.GrantRow(user, 1) for user in users], source="plan")
    chosen = list(TokenAccount.objects.filter(user__in=users))
    job = done(prepared("tokens.grant", chosen, **GRANT))
    undo = jobs.confirm(undone(job), reason="Wrong list", actor=None)
    for wanted in (8, 20):
        silent(undo)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.jobs.worker", str(undo.pk), "4"],
            env=child_environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= wanted:
                break
        process.kill()
        process.stdout.close()
        process.wait()
        time.sleep(0.2)  # the server ends what the dead one had begun
    silent(undo)
    for pk in jobs.sweep():
        jobs.work(pk)
    undo = fresh(undo)
    assert (undo.status, undo.done, booked(undo)) == (JobStatus.DONE, 40, [1] * 40)
    taken = LedgerEntry.objects.filter(event=undo.event, kind=EntryKind.SUBTRACT).aggregate(n=Sum("amount"))["n"]
    assert (taken, sum(available(chosen))) == (-2800, 40)
    assert not list(tokens.reconcile())
