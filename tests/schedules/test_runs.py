"""The log of runs: what is written, what is kept, and that it stops no task."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import current_app
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from django_token_pricing import jobs, tokens
from django_token_pricing.models import Job, ScheduledRun, TokenAccount
from django_token_pricing.schedules import SCHEDULES, beat_schedule
from django_token_pricing.tasks import beat, runs
from django_token_pricing.tasks.jobs import sweep
from django_token_pricing.tasks.runs import recorded
from django_token_pricing.tasks.tokens import expire
from tests.admin import site
from tests.world import new_user

pytestmark = pytest.mark.django_db(transaction=True)

TASK = "django_token_pricing.tokens.expire"


def ran(ago: timedelta = timedelta(0), **fields: Any) -> ScheduledRun:
    moment = timezone.now() - ago
    given = {"task": TASK, "started_at": moment, "finished_at": moment, "outcome": "done", **fields}
    return ScheduledRun.objects.create(**given)


def test_a_run_is_written_with_its_result_and_its_worker() -> None:
    tokens.grant(new_user(), 5, source="plan")
    expire()
    run = ScheduledRun.objects.get()
    assert (run.task, run.outcome, run.problem) == (TASK, "done", "")
    assert run.result == {"lots": 0, "tokens": 0, "holds": 0}
    assert run.worker
    assert run.finished_at is not None
    assert run.started_at <= run.finished_at


def test_each_scheduled_task_is_known_to_celery_and_writes_its_runs() -> None:
    import django_token_pricing.tasks  # noqa: F401

    for schedule in SCHEDULES:
        current_app.tasks[schedule.task].run()
        run = ScheduledRun.objects.get(task=schedule.task)
        assert run.outcome == "done", schedule.task


def test_a_failing_run_says_why_and_the_error_goes_on() -> None:
    with pytest.raises(ValueError, match="no such"), recorded(TASK):
        raise ValueError("no such \0thing")
    run = ScheduledRun.objects.get()
    assert (run.outcome, run.problem) == ("failed", "ValueError: no such thing")
    assert run.finished_at


def test_a_result_that_json_does_not_know_is_kept_as_text() -> None:
    moment = timezone.now()
    with recorded(TASK) as result:
        result["until"] = moment
    assert ScheduledRun.objects.get().result == {"until": str(moment)}


def test_a_log_that_cannot_be_written_stops_no_task(caplog: pytest.LogCaptureFixture) -> None:
    with connection.schema_editor() as editor:
        editor.alter_db_table(ScheduledRun, "django_token_pricing_scheduledrun", "django_token_pricing_gone")
    try:
        assert expire() == {"lots": 0, "tokens": 0, "holds": 0}
        with transaction.atomic():  # nor the transaction of who called it
            expire()
            user = new_user()
    finally:
        with connection.schema_editor() as editor:
            editor.alter_db_table(ScheduledRun, "django_token_pricing_gone", "django_token_pricing_scheduledrun")
    assert type(user).objects.filter(pk=user.pk).exists()
    assert "could not be logged" in caplog.text


def test_of_each_task_so_many_runs_are_kept_and_those_with_a_problem_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "KEPT", 3)
    failed = [ran(outcome="failed", problem=f"KeyError: {number}") for number in range(4)]
    other = [ran(task="django_token_pricing.jobs.sweep") for _number in range(5)]
    for _number in range(10):
        expire()
    kept = ScheduledRun.objects.filter(task=TASK)
    assert kept.filter(outcome="done").count() == 3
    assert list(kept.filter(outcome="failed").order_by("pk")) == failed[1:]
    assert ScheduledRun.objects.filter(pk__in=[run.pk for run in other]).count() == 5


def test_the_first_run_after_a_gap_says_how_long_no_worker_was_seen() -> None:
    ran(timedelta(minutes=42))
    sweep()
    expire()
    first, second = ScheduledRun.objects.order_by("pk")[1:]
    assert first.problem == "No worker was seen for 42 minutes before this run."
    assert 42 * 60 <= first.result["gap_seconds"] < 43 * 60
    assert (first.outcome, second.problem) == ("done", "")


def test_the_very_first_run_follows_no_gap() -> None:
    expire()
    assert ScheduledRun.objects.get().problem == ""


def test_bulk_work_is_a_sign_of_life_too() -> None:
    ran(timedelta(minutes=42))
    now = timezone.now()
    Job.objects.create(kind="tokens.grant", status="running", worker=uuid4(), alive_at=now)
    assert runs.worker_seen() == Job.objects.get().alive_at
    expire()
    assert ScheduledRun.objects.latest("pk").problem == ""


def test_silence_is_three_times_the_shortest_interval_and_two_minutes_at_least(
    settings: Any, without_beat: None
) -> None:
    assert beat.silence(beat.entries().values()) == timedelta(minutes=2)
    settings.CELERY_BEAT_SCHEDULE = {"one": {"task": TASK, "schedule": 600}}
    assert beat.silence(beat.entries().values()) == timedelta(minutes=30)
    settings.CELERY_BEAT_SCHEDULE = {}
    assert beat.silence(beat.entries().values()) == timedelta(minutes=15)


def test_settings_take_the_schedule_and_may_add_to_it() -> None:
    given = {**beat_schedule(), "yours": {"task": "yours.task", "schedule": 60}}
    assert {entry["task"] for entry in given.values()} == {*(schedule.task for schedule in SCHEDULES), "yours.task"}


# Without Celery -------------------------------------------------------------------------------------------------------


def run_due(capsys: pytest.CaptureFixture[str]) -> str:
    call_command("token_pricing_run_due")
    return capsys.readouterr().out


def test_cron_alone_runs_what_is_due_and_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    told = run_due(capsys)
    assert f"{TASK}: {{'lots': 0, 'tokens': 0, 'holds': 0}}" in told
    assert {run.task for run in ScheduledRun.objects.all()} == {schedule.task for schedule in SCHEDULES}
    assert "Nothing is due." in run_due(capsys)
    ScheduledRun.objects.filter(task=TASK).update(started_at=timezone.now() - timedelta(seconds=55))
    assert run_due(capsys).startswith(TASK)


def test_cron_alone_does_bulk_work_without_a_broker(capsys: pytest.CaptureFixture[str], no_broker: None) -> None:
    user = new_user()
    account = TokenAccount.objects.get(pk=tokens.grant(user, 5, source="plan").account)
    job = site.job("tokens.grant", account)
    jobs.confirm(job, reason="Goodwill", actor=None)
    run_due(capsys)
    job.refresh_from_db()
    assert (job.status, tokens.balance(user).available) == ("done", 75)


def test_a_task_that_fails_keeps_no_other_from_running(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "expire", lambda **_given: 1 / 0)
    with pytest.raises(CommandError, match="1 task failed"):
        run_due(capsys)
    assert "ZeroDivisionError" in capsys.readouterr().err
    outcomes = dict(ScheduledRun.objects.values_list("task", "outcome"))
    assert outcomes.pop(TASK) == "failed"
    assert set(outcomes.values()) == {"done"}
