"""The page of schedules: how each task stands, run now, and what is said where no worker is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from django_token_pricing.models import AuditEvent, ScheduledRun
from django_token_pricing.schedules import SCHEDULES
from tests.admin import site

pytestmark = pytest.mark.django_db

EXPIRE = "django_token_pricing.tokens.expire"
LIST = "/admin/django_token_pricing/scheduledrun/"


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(site.staff(is_superuser=True))
    return client


def all_ran(ago: timedelta = timedelta(seconds=5), **fields: Any) -> None:
    moment = timezone.now() - ago
    for schedule in SCHEDULES:
        site.run(schedule.task, started_at=moment, finished_at=moment + timedelta(seconds=2), **fields)


def rows(client: Client) -> dict[str, Any]:
    return {row.task: row for row in client.get(LIST).context["schedules"]}


def test_a_task_that_runs_as_planned_is_on_time(owner: Client) -> None:
    all_ran(result={"lots": 2, "tokens": 1_500, "holds": 0})
    row = rows(owner)[EXPIRE]
    assert (row.word, row.how_often, row.took) == ("On time", "Every minute", "2 seconds")
    assert row.result == "2 lots, 1,500 tokens"
    assert row.next != "—"
    assert len(rows(owner)) == len(SCHEDULES)


@pytest.mark.parametrize(
    ("fields", "ago", "word"),
    [
        ({"outcome": "failed", "problem": "KeyError: 'tier'"}, 5, "Failed"),
        ({}, 300, "Late"),
        ({"outcome": "running", "finished_at": None}, 5, "Running"),
        ({"outcome": "running", "finished_at": None}, 300, "Late"),
    ],
)
def test_what_is_not_as_planned_is_said(owner: Client, fields: dict[str, Any], ago: int, word: str) -> None:
    moment = timezone.now() - timedelta(seconds=ago)
    site.run(started_at=moment, **{"finished_at": moment, **fields})
    assert rows(owner)[EXPIRE].word == word


def test_a_run_that_failed_is_not_forgotten_while_the_next_one_runs(owner: Client) -> None:
    site.run(outcome="failed", problem="KeyError: 'tier'")
    site.run(outcome="running")
    row = rows(owner)[EXPIRE]
    assert (row.word, row.result) == ("Failed", "KeyError: 'tier'")


def test_a_task_that_never_ran_and_one_that_is_not_scheduled(owner: Client, settings: Any) -> None:
    assert rows(owner)[EXPIRE].word == "Never ran"
    settings.CELERY_BEAT_SCHEDULE = {}
    assert rows(owner)[EXPIRE].word == "Not scheduled"
    # Cron calls the command.
    site.run()
    assert rows(owner)[EXPIRE].word == "On time"


def test_entries_of_beat_are_shown_and_linked(owner: Client, settings: Any, client: Client) -> None:
    settings.CELERY_BEAT_SCHEDULE = {}
    call_command("token_pricing_install_schedules", verbosity=0)
    slow = IntervalSchedule.objects.create(every=2, period="hours")
    PeriodicTask.objects.filter(name=EXPIRE).update(interval=slow)
    PeriodicTask.objects.filter(name="django_token_pricing.payments.sync").update(enabled=False)
    all_ran()
    found = rows(owner)
    assert found[EXPIRE].how_often == "Every 2 hours"
    assert found["django_token_pricing.payments.sync"].word == "Switched off"
    assert owner.get(found[EXPIRE].beat_url).status_code == 200
    client.force_login(site.staff("view_scheduledrun"))
    assert rows(client)[EXPIRE].beat_url == ""


@pytest.mark.parametrize("ago", [None, 725])
def test_where_no_worker_was_seen_the_page_and_the_index_say_so(owner: Client, ago: int | None, client: Client) -> None:
    words = "No worker was seen yet." if ago is None else "No worker was seen for 12\xa0minutes."
    if ago:
        all_ran(timedelta(seconds=ago))
    assert words in owner.get(LIST).content.decode()
    assert words in owner.get(site.index()).content.decode()
    client.force_login(site.staff("view_tokenaccount"))
    assert "No worker" not in client.get(site.index()).content.decode()


def test_where_a_worker_was_seen_nothing_is_said(owner: Client) -> None:
    all_ran()
    for url in (LIST, site.index()):
        assert "No worker" not in owner.get(url).content.decode()


def test_the_page_takes_as_many_queries_for_many_runs_as_for_few(owner: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert owner.get(LIST).status_code == 200
        return len(captured)

    all_ran()
    queries()
    few = queries()
    for _number in range(10):
        all_ran()
    assert queries() == few
    assert few <= site.MOST_QUERIES


def test_the_log_is_filtered_by_task_and_outcome(owner: Client) -> None:
    all_ran()
    failed = site.run(outcome="failed", problem="KeyError: 'tier'")
    shown = owner.get(LIST, {"task": EXPIRE}).context["cl"].result_list
    assert {row.task for row in shown} == {EXPIRE}
    response = owner.get(LIST, {"task": EXPIRE, "outcome": "failed"})
    assert [row.pk for row in response.context["cl"].result_list] == [failed.pk]
    assert "schedules" not in response.context
    assert "KeyError" in owner.get(site.page(failed)).content.decode()


def test_a_task_that_is_scheduled_no_more_can_still_be_read(owner: Client) -> None:
    old = site.run("django_token_pricing.tokens.melt", result={"ice_cubes": 3})
    assert "django_token_pricing.tokens.melt" in owner.get(LIST).content.decode()
    assert "ice cubes: 3" in owner.get(site.page(old)).content.decode()


# Run now --------------------------------------------------------------------------------------------------------------


def run_now(client: Client, task: str = EXPIRE) -> str:
    response = client.post(reverse("admin:django_token_pricing_scheduledrun_run"), {"task": task}, follow=True)
    assert response.status_code == 200
    return "".join(str(message) for message in response.context["messages"])


def test_run_now_sends_the_task_and_says_who_did_it(owner: Client, sent: Callable[[], list[str]]) -> None:
    assert "was sent to the workers" in run_now(owner)
    assert sent() == [EXPIRE]
    event = AuditEvent.objects.latest("pk")
    assert (event.action, event.changes) == ("schedules.run", {"task": [None, EXPIRE]})
    assert event.actor is not None


def test_nothing_else_can_be_sent(owner: Client, sent: Callable[[], list[str]]) -> None:
    for task in ("django_token_pricing.jobs.work", "celery.backend_cleanup", ""):
        assert "no such task" in run_now(owner, task)
    assert sent() == []
    assert not AuditEvent.objects.exists()


@pytest.mark.usefixtures("no_broker")
def test_without_a_broker_a_message_says_so_and_nothing_is_written(owner: Client) -> None:
    assert "No broker was reached" in run_now(owner)
    assert not AuditEvent.objects.exists()


def test_run_now_needs_its_own_permission(client: Client, sent: Callable[[], list[str]]) -> None:
    url = reverse("admin:django_token_pricing_scheduledrun_run")
    for codenames, status in (
        (["view_scheduledrun"], 403),
        (["run_tasks"], 403),
        (["view_scheduledrun", "run_tasks"], 302),
    ):
        client.force_login(site.staff(*codenames))
        assert client.post(url, {"task": EXPIRE}).status_code == status
    assert sent() == [EXPIRE]
    client.force_login(site.staff("view_scheduledrun"))
    assert "Run now" not in client.get(LIST).content.decode()
    assert ScheduledRun.objects.count() == 0
