"""Deeds on many accounts from the list: chosen or filtered, previewed, confirmed with a reason, done as a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from django_token_pricing import jobs, tokens
from django_token_pricing.choices import JobStatus
from django_token_pricing.models import AuditEvent, Job, LedgerEntry, TokenAccount
from tests import world
from tests.admin import site

pytestmark = pytest.mark.django_db

Login = Callable[[Any], Client]
DEEDS = pytest.mark.parametrize(
    ("name", "permission"),
    [("grant", "grant_tokens"), ("subtract", "subtract_tokens"), ("set", "set_balance"), ("expire", "expire_tokens")],
)


def many(name: str) -> str:
    return reverse(f"admin:django_token_pricing_tokenaccount_many_{name}")


def job_url(job: Job, deed: str = "") -> str:
    if not deed:
        return site.page(job)
    return reverse(f"admin:django_token_pricing_job_{deed}", args=[job.pk])


def accounts(count: int, each: int = 100) -> list[TokenAccount]:
    users = world.new_users(count)
    tokens.grant_many([tokens.GrantRow(user, each) for user in users], source="plan")
    return list(TokenAccount.objects.filter(user__in=users).order_by("pk"))


def given(**more: Any) -> dict[str, Any]:
    return {"key": str(uuid4()), "amount": "70", "source": "manual", "priority": "100", "of_source": "", **more}


def chosen(rows: list[TokenAccount]) -> str:
    return "?accounts=" + ",".join(str(row.pk) for row in rows)


def asked(client: Client, name: str, query: str, **more: Any) -> Job:
    response = client.post(many(name) + query, given(**more))
    assert response.status_code == 302, response.content.decode()
    return Job.objects.latest("pk")


def available(rows: list[TokenAccount]) -> list[int]:
    found = tokens.balances(list(TokenAccount.objects.filter(pk__in=[row.pk for row in rows]).order_by("pk")))
    return [balance.available for balance in found.values()]


# From the list to the form


@DEEDS
def test_the_action_leads_to_the_form_of_those_chosen(name: str, permission: str, owners_client: Client) -> None:
    rows = accounts(3)
    data = {"action": name, "index": "0", "_selected_action": [row.pk for row in rows[:2]]}
    response = owners_client.post(site.lists(TokenAccount), data)
    assert response.status_code == 302
    text = owners_client.get(response["Location"]).content.decode()
    assert rows[0].user.get_username() in text
    assert rows[2].user.get_username() not in text


@DEEDS
def test_the_action_on_all_that_match_keeps_the_filters(name: str, permission: str, owners_client: Client) -> None:
    accounts(2)
    pool = world.new_pool()
    tokens.grant(pool, 5, source="purchase")
    data = {"action": name, "index": "0", "select_across": "1", "_selected_action": [1]}
    response = owners_client.post(f"{site.lists(TokenAccount)}?owner=pool&p=1", data)
    job = asked(owners_client, name, "?" + response["Location"].partition("?")[2])
    assert job.params["selection"]["query"] == "owner=pool"
    assert list(job.rows.values_list("target", flat=True)) == [pool.account.pk]


def test_a_search_that_is_cut_short_is_refused(owners_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from django_token_pricing.admin.tokens import owners

    accounts(3)
    monkeypatch.setattr(owners, "MOST_FOUND", 2)
    response = owners_client.get(f"{many('grant')}?list=q%3Duser", follow=True)
    assert "some are left out" in response.content.decode()
    assert not Job.objects.exists()


@pytest.mark.parametrize("query", ["", "?accounts=", "?accounts=x,-1,99999999999999999999", "?accounts=123456789"])
def test_nothing_chosen_leads_back_to_the_list(query: str, owners_client: Client) -> None:
    response = owners_client.get(many("grant") + query)
    assert response["Location"] == site.lists(TokenAccount)


# Who may


@DEEDS
def test_each_deed_needs_its_own_permission_at_each_step(
    name: str, permission: str, as_: Login, viewer: Any, staff_without_permission: Any
) -> None:
    rows = accounts(2)
    others = [other for other in site.MAY_DO if other != permission]
    for person in (viewer, staff_without_permission, site.staff(permission), site.staff(*site.VIEW, *others)):
        client = as_(person)
        assert client.get(many(name) + chosen(rows)).status_code == 403
        assert client.post(many(name) + chosen(rows), given()).status_code == 403
        assert f'value="{name}"' not in client.get(site.lists(TokenAccount)).content.decode()
    assert not Job.objects.exists()
    doer = site.staff("view_tokenaccount", permission)
    client = as_(doer)
    assert f'value="{name}"' in client.get(site.lists(TokenAccount)).content.decode()
    job = asked(client, name, chosen(rows))
    for person in (viewer, staff_without_permission, site.staff(*site.VIEW, *others)):
        for deed in ("confirm", "pause", "resume", "cancel"):
            assert as_(person).post(job_url(job, deed), {"reason": "x"}).status_code == 403
            assert as_(person).get(job_url(job, deed)).status_code in (302, 403)
    assert Job.objects.get().status == JobStatus.READY
    client = as_(doer)
    assert client.get(job_url(job)).status_code == 200
    assert client.post(job_url(job, "confirm"), {"reason": "Goodwill"}).status_code == 302
    assert Job.objects.get().status == JobStatus.QUEUED


def test_jobs_of_others_are_for_those_who_may_view_jobs(as_: Login, operator: Any) -> None:
    job = asked(as_(operator), "grant", chosen(accounts(1)))
    doer = site.staff("view_tokenaccount", "grant_tokens")
    for url in (job_url(job), job_url(job, "errors")):
        assert as_(doer).get(url).status_code == 403
        assert as_(site.staff("view_job")).get(url).status_code == 200
    assert as_(site.staff("view_job")).post(job_url(job, "confirm"), {"reason": "x"}).status_code == 403


# The preview


@DEEDS
def test_the_preview_changes_nothing_and_shows_before_and_after(
    name: str, permission: str, owners_client: Client
) -> None:
    rows = accounts(3)
    before = LedgerEntry.objects.count()
    job = asked(owners_client, name, chosen(rows))
    text = owners_client.get(job_url(job)).content.decode()
    assert "Nothing has been changed yet." in text
    after = {"grant": "510", "subtract": "90", "set": "210", "expire": "0"}[name]
    assert f'<dd class="tp-figure">{after}</dd>' in text
    assert "@<wbr>".join(rows[0].user.get_username().split("@")) in text
    assert (LedgerEntry.objects.count(), available(rows)) == (before, [100, 100, 100])


def test_the_preview_warns_of_what_was_done_today_and_of_closed_accounts(owners_client: Client) -> None:
    rows = accounts(3)
    tokens.grant(rows[0].user, 70, source="manual")
    rows[1].user.delete()
    text = owners_client.get(job_url(asked(owners_client, "grant", chosen(rows)))).content.decode()
    assert "1 of these already got this today." in text
    assert "1 account is closed." in text


def test_a_form_sent_twice_is_one_job(owners_client: Client) -> None:
    rows, data = accounts(2), given()
    one = owners_client.post(many("grant") + chosen(rows), data)
    assert owners_client.post(many("grant") + chosen(rows), data)["Location"] == one["Location"]
    assert Job.objects.count() == 1


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("grant", {"amount": "0"}),
        ("grant", {"amount": "1.5"}),
        ("grant", {"source": "plan"}),
        ("grant", {"expires_on": "2020-01-01"}),
        ("grant", {"priority": "99999"}),
        ("subtract", {"amount": "-5"}),
        ("set", {"amount": "x"}),
        ("expire", {"of_source": "nonsense"}),
        ("grant", {"key": "nonsense"}),
    ],
)
def test_bad_terms_are_refused_in_the_form(name: str, wrong: dict[str, str], owners_client: Client) -> None:
    response = owners_client.post(many(name) + chosen(accounts(1)), given(**wrong))
    assert response.status_code == 200
    text = response.content.decode()
    assert "errorlist" in text or "Nothing has changed." in text
    assert not Job.objects.exists()


# Confirming and what follows


def test_confirming_takes_a_reason_and_for_many_their_number(owners_client: Client, monkeypatch: Any) -> None:
    from django_token_pricing.admin.jobs import pages

    monkeypatch.setattr(pages, "MANY", 2)
    job = asked(owners_client, "grant", chosen(accounts(3)))
    for wrong in ({}, {"reason": " "}, {"reason": "Goodwill"}, {"reason": "Goodwill", "count": "4"}):
        response = owners_client.post(job_url(job, "confirm"), wrong)
        assert response.status_code == 200
        assert "errorlist" in response.content.decode()
    assert Job.objects.get().status == JobStatus.READY
    owners_client.post(job_url(job, "confirm"), {"reason": "Goodwill", "count": "3"})
    assert Job.objects.get().status == JobStatus.QUEUED


def test_the_job_is_done_by_a_worker_with_one_audit_event(as_: Login, operator: Any) -> None:
    rows = accounts(3)
    client = as_(operator)
    job = asked(client, "grant", chosen(rows))
    client.post(job_url(job, "confirm"), {"reason": "Goodwill"})
    assert "Waiting for a worker" in client.get(job_url(job)).content.decode()
    jobs.work(job.pk)
    text = client.get(job_url(job)).content.decode()
    assert "100%" in text
    assert "Goodwill" in text
    assert available(rows) == [170, 170, 170]
    event = AuditEvent.objects.latest("pk")
    assert (event.actor, event.reason, event.count) == (operator, "Goodwill", 3)


def test_two_who_confirm_the_same_preview_do_it_once(as_: Login, operator: Any, owner: Any) -> None:
    rows = accounts(1)
    job = asked(as_(operator), "grant", chosen(rows))
    as_(operator).post(job_url(job, "confirm"), {"reason": "Goodwill"})
    response = as_(owner).post(job_url(job, "confirm"), {"reason": "Mine"}, follow=True)
    assert "is not what it was" in response.content.decode()
    jobs.work(job.pk)
    assert available(rows) == [170]


def test_rows_that_cannot_be_done_are_listed_with_the_reason(owners_client: Client) -> None:
    rows = accounts(2) + accounts(1, each=10)
    job = asked(owners_client, "subtract", chosen(rows))
    assert "1 account has less." in owners_client.get(job_url(job)).content.decode()
    owners_client.post(job_url(job, "confirm"), {"reason": "Correction"})
    jobs.work(job.pk)
    text = owners_client.get(job_url(job)).content.decode()
    assert "insufficient_tokens" in text
    lines = b"".join(owners_client.get(job_url(job, "errors"))).decode("utf-8-sig").splitlines()
    assert lines[0] == "row,name,code,reason"
    assert lines[1].startswith(f"3,{rows[2].user.get_username()},insufficient_tokens,")
    assert available(rows) == [30, 30, 10]


@pytest.mark.parametrize("status", ["ready", "queued", "done"])
def test_a_job_of_an_app_that_was_removed_can_still_be_read(status: str, owners_client: Client) -> None:
    job = Job.objects.create(kind="gone.deed", status=status)
    for url in (site.lists(Job), job_url(job)):
        assert "gone.deed" in owners_client.get(url).content.decode()
    assert owners_client.post(job_url(job, "confirm"), {"reason": "x"}).status_code == 403


def test_a_job_that_is_dropped_does_nothing(owners_client: Client) -> None:
    rows = accounts(1)
    job = asked(owners_client, "grant", chosen(rows))
    owners_client.post(job_url(job, "cancel"))
    jobs.work(job.pk)
    assert available(rows) == [100]
    assert "Cancelled" in owners_client.get(job_url(job)).content.decode()
    assert AuditEvent.objects.latest("pk").action == "jobs.cancel"


def test_more_than_a_few_are_prepared_by_a_worker(owners_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from django_token_pricing.admin.tokens import bulk

    monkeypatch.setattr(bulk, "AT_ONCE", 2)
    accounts(3)
    job = asked(owners_client, "grant", "?list=")
    assert job.status == JobStatus.PREPARING
    assert "Preparing" in owners_client.get(job_url(job)).content.decode()
    jobs.work(job.pk)
    assert Job.objects.get().status == JobStatus.READY


def test_a_worker_asks_again_whether_the_person_may_see_the_accounts(as_: Login, monkeypatch: Any) -> None:
    from django_token_pricing.admin.tokens import bulk

    monkeypatch.setattr(bulk, "AT_ONCE", 0)
    accounts(1)
    doer = site.staff("view_tokenaccount", "grant_tokens")
    job = asked(as_(doer), "grant", "?list=")
    doer.user_permissions.clear()
    jobs.work(job.pk)
    job.refresh_from_db()
    assert job.status == JobStatus.FAILED
    assert "may not see" in job.problem


# Stopping at errors, progress, undo


def test_who_confirms_says_at_how_many_errors_it_stops(owners_client: Client) -> None:
    job = asked(owners_client, "grant", chosen(accounts(2)))
    assert 'name="most_errors" value="5"' in owners_client.get(job_url(job)).content.decode()
    refused = owners_client.post(job_url(job, "confirm"), {"reason": "Goodwill", "most_errors": "101"})
    assert "errorlist" in refused.content.decode()
    owners_client.post(job_url(job, "confirm"), {"reason": "Goodwill", "most_errors": "7"})
    assert Job.objects.get().most_errors == 7
    Job.objects.update(status=JobStatus.RUNNING, started_at=timezone.now())
    assert "stops above 7%" in owners_client.get(job_url(job)).content.decode()


def test_the_progress_says_what_the_page_says_in_few_queries(
    owners_client: Client, django_assert_max_num_queries: Any
) -> None:
    job = asked(owners_client, "grant", chosen(accounts(3)))
    jobs.confirm(job, reason="Goodwill", actor=None)
    with django_assert_max_num_queries(4):  # session, user, job, and how many others run
        answer = owners_client.get(job_url(job, "progress"))
    assert "no-store" in answer["Cache-Control"]
    found = answer.json()
    page = owners_client.get(job_url(job)).content.decode()
    assert (found["is_live"], found["decided"], found["total"]) == (True, 0, 3)
    assert f'data-progress="{job_url(job, "progress")}"' in page
    assert found["texts"]["counted"] in page
    assert escape(found["shape"]) in page
    jobs.work(job.pk)
    found = owners_client.get(job_url(job, "progress")).json()
    assert (found["is_live"], found["decided"], found["tenth"]) == (False, 3, 10)
    assert found["bar"][0] == ["0.00%", "100.00%"]


def test_a_job_that_waits_for_others_says_so(owners_client: Client, settings: Any) -> None:
    settings.TOKEN_PRICING = {"JOB_PARALLEL": 1}
    job = asked(owners_client, "grant", chosen(accounts(1)))
    jobs.confirm(job, reason="Goodwill", actor=None)
    Job.objects.create(kind="tokens.grant", status=JobStatus.RUNNING, worker=uuid4(), alive_at=timezone.now())
    assert "Waits: 1 other runs." in owners_client.get(job_url(job)).content.decode()


def test_a_grant_is_undone_from_its_page_by_a_job_that_is_previewed(owners_client: Client) -> None:
    rows = accounts(3)
    job = asked(owners_client, "grant", chosen(rows))
    jobs.work(jobs.confirm(job, reason="Goodwill", actor=None).pk)
    tokens.subtract(rows[0].user, 130, reason="Test", actor=None)
    page = owners_client.get(job_url(job)).content.decode()
    assert "Undo…" in page
    assert "180 of 210 tokens" in page
    response = owners_client.post(job_url(job, "undo"))
    undo = Job.objects.get(undo_of=job)
    assert response["Location"] == job_url(undo)
    page = owners_client.get(job_url(undo)).content.decode()
    assert f"Take back what job {job.pk} granted?" in page
    assert "Partly used" in page
    assert available(rows) == [40, 170, 170]
    owners_client.post(job_url(undo, "confirm"), {"reason": "Wrong list"})
    jobs.work(undo.pk)
    assert available(rows) == [0, 100, 100]
    page = owners_client.get(job_url(undo)).content.decode()
    assert f'<a href="{job_url(job)}">Job {job.pk}</a>' in page
    assert "Not taken back" in page
    page = owners_client.get(job_url(job)).content.decode()
    assert "It is taken back by" in page
    assert job_url(undo) in page
    assert "Undo…" not in page
    again = owners_client.post(job_url(job, "undo"))
    assert again["Location"] == job_url(undo)


def test_undo_needs_the_right_to_change_lots(as_: Login, owners_client: Client) -> None:
    job = asked(owners_client, "grant", chosen(accounts(1)))
    jobs.work(jobs.confirm(job, reason="Goodwill", actor=None).pk)
    client = as_(site.staff("view_job", "grant_tokens"))
    page = client.get(job_url(job)).content.decode()
    assert "Your role does not include taking it back" in page
    assert client.post(job_url(job, "undo")).status_code == 403
    client = as_(site.staff("view_job", "change_lots"))
    assert client.post(job_url(job, "undo")).status_code == 302
    assert Job.objects.filter(undo_of=job).count() == 1


def test_what_cannot_be_undone_says_why(owners_client: Client) -> None:
    job = asked(owners_client, "subtract", chosen(accounts(1)), amount="5")
    jobs.work(jobs.confirm(job, reason="Correction", actor=None).pk)
    assert "Grant it again, as new lots." in owners_client.get(job_url(job)).content.decode()
    response = owners_client.post(job_url(job, "undo"), follow=True)
    assert "Grant it again, as new lots." in response.content.decode()
    assert Job.objects.count() == 1
