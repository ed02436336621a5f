"""Deeds on many accounts: frozen, previewed, confirmed, done."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_token_pricing import jobs, tokens
from django_token_pricing.choices import JobStatus
from django_token_pricing.exceptions import InvalidInput, JobChanged
from django_token_pricing.models import AuditEvent, Job, LedgerEntry, TokenAccount
from django_token_pricing.tokens.account_jobs import GrantToAccounts
from tests import world

pytestmark = pytest.mark.django_db

GRANT = {"amount": 70, "source": "manual", "priority": 100, "starts_on": None, "expires_on": None}


def accounts(*balances: int) -> list[TokenAccount]:
    """Accounts with these tokens, of new users."""
    found = []
    for balance, user in zip(balances, world.new_users(len(balances)), strict=True):
        tokens.grant(user, balance or 1, source="plan")
        account = TokenAccount.objects.get(user=user)
        if not balance:
            tokens.subtract(user, 1, reason="none", actor=None)
        found.append(account)
    return found


def prepared(kind: str, chosen: list[TokenAccount], **params: Any) -> Job:
    selection = {"by": "accounts", "pks": [account.pk for account in chosen]}
    job = jobs.create(kind, params={"selection": selection, **params}, actor=None, key=uuid4(), now=True)
    job.refresh_from_db()
    return job


def done(job: Job) -> Job:
    jobs.work(jobs.confirm(job, reason="Goodwill", actor=None).pk)
    job.refresh_from_db()
    return job


def available(chosen: list[TokenAccount]) -> list[int]:
    rows = [TokenAccount.objects.get(pk=account.pk) for account in chosen]
    found = tokens.balances(rows)
    return [found[row].available for row in rows]


def test_a_grant_is_previewed_and_only_done_when_confirmed() -> None:
    chosen = accounts(10, 0, 500)
    job = prepared("tokens.grant", chosen, **GRANT)
    assert (job.status, job.total) == (JobStatus.READY, 3)
    assert {name: job.preview[name] for name in ("accounts", "before", "granted", "closed", "repeated")} == {
        "accounts": 3,
        "before": 510,
        "granted": 210,
        "closed": 0,
        "repeated": 0,
    }
    assert available(chosen) == [10, 0, 500]
    job = done(job)
    assert (job.status, job.done, job.failed, job.result) == (JobStatus.DONE, 3, 0, {"granted": 210})
    assert available(chosen) == [80, 70, 570]


def test_all_that_a_job_books_points_to_one_audit_event() -> None:
    chosen = accounts(10, 20)
    before = AuditEvent.objects.count()
    job = done(prepared("tokens.grant", chosen, **GRANT))
    assert AuditEvent.objects.count() == before + 1
    assert job.event is not None
    assert (job.event.action, job.event.reason, job.event.count) == ("jobs.tokens.grant", "Goodwill", 2)
    assert LedgerEntry.objects.filter(event=job.event).count() == 2


def test_what_was_chosen_is_frozen() -> None:
    chosen = accounts(10, 20)
    job = prepared("tokens.grant", chosen, **GRANT)
    job.params["selection"]["pks"] = []
    done(job)
    assert available(chosen) == [80, 90]


def test_the_preview_says_who_got_the_same_today_already() -> None:
    chosen = accounts(10, 20, 30)
    done(prepared("tokens.grant", chosen[:2], **GRANT))
    assert prepared("tokens.grant", chosen, **GRANT).preview["repeated"] == 2
    assert prepared("tokens.grant", chosen, **{**GRANT, "amount": 71}).preview["repeated"] == 0


def test_closed_accounts_are_set_aside_with_the_reason() -> None:
    chosen = accounts(10, 20, 30)
    chosen[0].user.delete()
    job = prepared("tokens.grant", chosen, **GRANT)
    assert (job.preview["closed"], job.preview["accounts"]) == (1, 2)
    chosen[1].user.delete()
    job = done(job)
    assert (job.done, job.failed) == (1, 2)
    assert list(job.rows.order_by("number").values_list("code", flat=True)) == ["account_closed", "account_closed", ""]


def test_a_subtraction_leaves_out_who_has_less_or_takes_what_there_is() -> None:
    chosen = accounts(10, 100, 500)
    job = prepared("tokens.subtract", chosen, amount=100, at_most=False)
    assert (job.preview["short"], job.preview["taken"]) == (1, 200)
    job = done(job)
    assert (job.done, job.failed, available(chosen)) == (2, 1, [10, 0, 400])
    assert job.rows.get(number=1).code == "insufficient_tokens"
    job = prepared("tokens.subtract", chosen, amount=100, at_most=True)
    assert job.preview["taken"] == 110
    job = done(job)
    assert (job.done, job.skipped, job.failed, available(chosen)) == (2, 1, 0, [0, 0, 300])


def test_setting_grants_what_is_missing_and_takes_what_is_too_much() -> None:
    chosen = accounts(10, 100, 500)
    tokens.hold(chosen[2].user, 50, key="job:1")
    job = prepared("tokens.set", chosen, amount=100)
    wanted = {"more": 1, "less": 1, "granted": 90, "taken": 350}
    assert {name: job.preview[name] for name in wanted} == wanted
    job = done(job)
    assert (job.done, job.skipped, available(chosen)) == (2, 1, [100, 100, 100])
    assert job.result == {"granted": 90, "taken": 350}


@pytest.mark.django_db(transaction=True)
def test_expiry_takes_lots_of_one_source_or_of_all_and_leaves_what_is_held() -> None:
    chosen = accounts(10, 100)
    tokens.grant(chosen[1].user, 40, source="promotion")
    tokens.hold(chosen[1].user, 60, key="job:1")
    job = done(prepared("tokens.expire", chosen, of_source="promotion"))
    assert (job.result, available(chosen)) == ({"granted": 0, "taken": 40}, [10, 40])
    job = prepared("tokens.expire", chosen, of_source=None)
    assert job.preview["taken"] == 50
    done(job)
    assert available(chosen) == [0, 0]
    assert tokens.balance(chosen[1].user).held == 60
    assert not list(tokens.reconcile())


def test_many_rows_that_cannot_be_done_take_as_many_queries_as_few() -> None:
    def queries(count: int) -> int:
        job = prepared("tokens.subtract", accounts(*[10] * count), amount=100, at_most=False)
        jobs.confirm(job, reason="Correction", actor=None)
        with CaptureQueriesContext(connection) as captured:
            jobs.work(job.pk)
        assert job.rows.filter(code="insufficient_tokens").count() == count
        return len(captured)

    assert queries(12) == queries(2)


def test_two_who_confirm_one_preview_do_it_once() -> None:
    job = prepared("tokens.grant", accounts(10), **GRANT)
    jobs.confirm(job, reason="Goodwill", actor=None)
    with pytest.raises(JobChanged):
        jobs.confirm(job, reason="Goodwill", actor=None)


def test_nothing_is_confirmed_without_a_reason_or_without_rows() -> None:
    job = prepared("tokens.grant", accounts(10), **GRANT)
    with pytest.raises(InvalidInput):
        jobs.confirm(job, reason=" ", actor=None)
    nobody = prepared("tokens.grant", [], **GRANT)
    with pytest.raises(InvalidInput):
        jobs.confirm(nobody, reason="Goodwill", actor=None)
    nobody.refresh_from_db()
    assert nobody.status == JobStatus.READY


def test_the_same_key_is_one_job() -> None:
    key = uuid4()
    params = {"selection": {"by": "accounts", "pks": []}, **GRANT}
    one = jobs.create("tokens.grant", params=params, actor=None, key=key, now=True)
    assert jobs.create("tokens.grant", params=params, actor=None, key=key, now=True).pk == one.pk
    assert Job.objects.count() == 1


def test_a_paused_job_goes_on_where_it_stopped_and_a_cancelled_one_never(monkeypatch: Any) -> None:
    chosen = accounts(*range(1, 8))
    monkeypatch.setattr(GrantToAccounts, "chunk_size", lambda self, job: 3)
    job = jobs.confirm(prepared("tokens.grant", chosen, **GRANT), reason="Goodwill", actor=None)
    step = GrantToAccounts.step

    def pausing(self: Any, job: Job) -> bool:
        goes_on = step(self, job)
        if job.position == 3:
            pauses.append(job.pk)
        return goes_on

    pauses: list[int] = []
    monkeypatch.setattr(GrantToAccounts, "step", pausing)
    job = jobs.pause(job, actor=None)
    jobs.work(job.pk)
    assert available(chosen) == list(range(1, 8))
    job = jobs.resume(job, actor=None)
    jobs.work(job.pk)
    job.refresh_from_db()
    assert (job.status, job.done) == (JobStatus.DONE, 7)
    with pytest.raises(JobChanged):
        jobs.cancel(job, actor=None)
