"""Schedules in the tables of django-celery-beat: installed, kept up to date, and looked for by a check."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from celery import schedules
from django.core.checks import Tags, run_checks
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

from django_token_pricing.schedules import SCHEDULES, Schedule
from django_token_pricing.tasks import beat

pytestmark = pytest.mark.django_db

EXPIRE = "django_token_pricing.tokens.expire"
TASKS = sorted(schedule.task for schedule in SCHEDULES)


@pytest.fixture(autouse=True)
def nothing_in_settings(settings: Any) -> None:
    settings.CELERY_BEAT_SCHEDULE = {}


def install(capsys: pytest.CaptureFixture[str], **options: Any) -> str:
    call_command("token_pricing_install_schedules", **options)
    return capsys.readouterr().out


def rows() -> list[tuple[Any, ...]]:
    fields = ["name", "task", "interval__every", "interval__period", "crontab", "enabled", "description"]
    return list(PeriodicTask.objects.filter(name__startswith="django_token").order_by("name").values_list(*fields))


def test_all_tasks_are_installed_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{EXPIRE}: added, every 60 seconds." in install(capsys)
    before = rows()
    assert [row[0] for row in before] == TASKS
    assert f"{EXPIRE}: there, every 60 seconds." in install(capsys)
    assert rows() == before
    assert IntervalSchedule.objects.count() == len({schedule.every for schedule in SCHEDULES})


def test_beat_reads_what_was_installed(capsys: pytest.CaptureFixture[str]) -> None:
    install(capsys)
    from celery import current_app

    found = DatabaseScheduler(current_app, lazy=True).all_as_schedule()
    intervals = {schedule.task: schedule.every for schedule in SCHEDULES}
    assert {entry.task: entry.schedule.run_every for entry in found.values() if entry.task in intervals} == intervals


def test_an_operators_changes_stay_until_they_are_reset(capsys: pytest.CaptureFixture[str]) -> None:
    install(capsys)
    slow = IntervalSchedule.objects.create(every=10, period="minutes")
    PeriodicTask.objects.filter(name=EXPIRE).update(interval=slow)
    PeriodicTask.objects.filter(name="django_token_pricing.payments.sync").update(enabled=False)
    nightly = CrontabSchedule.objects.create(hour="3", minute="10")
    PeriodicTask.objects.filter(name="django_token_pricing.jobs.sweep").update(interval=None, crontab=nightly)
    before = rows()
    told = install(capsys)
    assert f"{EXPIRE}: kept as it is, every 10 minutes; ours is every 60 seconds." in told
    assert "django_token_pricing.payments.sync: kept as it is, switched off." in told
    assert "django_token_pricing.jobs.sweep: kept as it is, 10 3 * * *" in told
    assert rows() == before
    told = install(capsys, reset=True)
    assert told.count("set back") == 3
    assert "set back" not in install(capsys, reset=True)
    assert all(row[4] is None and row[5] for row in rows())


def test_what_is_no_task_any_more_goes_and_what_is_yours_stays(capsys: pytest.CaptureFixture[str]) -> None:
    every = IntervalSchedule.objects.create(every=1, period="hours")
    old = "django_token_pricing.tokens.melt"
    PeriodicTask.objects.create(name=old, task=old, interval=every)
    sync = "django_token_pricing.payments.sync"
    PeriodicTask.objects.create(name="django_token_pricing at night", task=sync, interval=every)
    PeriodicTask.objects.create(name="yours", task="yours.task", interval=every)
    assert f"{old}: removed" in install(capsys)
    names = set(PeriodicTask.objects.values_list("name", flat=True))
    assert old not in names
    assert {"django_token_pricing at night", "yours", *TASKS} <= names


def test_a_dry_run_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    told = install(capsys, dry_run=True)
    assert "added" in told
    assert "Nothing was changed." in told
    assert not rows()
    assert not IntervalSchedule.objects.exists()


def test_asking_whether_all_is_there_exits_with_1_where_something_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(CommandError, match=f"{len(TASKS)} tasks are not scheduled"):
        install(capsys, check=True)
    assert f"{EXPIRE}: missing." in capsys.readouterr().out
    assert not rows()
    install(capsys)
    assert "All tasks are scheduled." in install(capsys, check=True)


def test_descriptions_follow_the_package(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from django_token_pricing.management.commands import token_pricing_install_schedules as command

    monkeypatch.setattr(command, "SCHEDULES", (Schedule(EXPIRE, timedelta(minutes=1), "Expire", "Old words."),))
    install(capsys)
    monkeypatch.undo()
    assert f"{EXPIRE}: its description was renewed." in install(capsys)
    assert PeriodicTask.objects.get(name=EXPIRE).description != "Old words."


def test_without_beats_tables_it_says_what_to_write(
    capsys: pytest.CaptureFixture[str], without_beat: None, settings: Any
) -> None:
    told = install(capsys)
    assert "from django_token_pricing.schedules import beat_schedule" in told
    assert "CELERY_BEAT_SCHEDULE = {**beat_schedule()}" in told
    with pytest.raises(CommandError):
        install(capsys, check=True)
    settings.CELERY_BEAT_SCHEDULE = {task: {"task": task, "schedule": 60} for task in TASKS}
    assert "has all tasks" in install(capsys)
    assert "All tasks are scheduled." in install(capsys, check=True)


def test_settings_import_the_schedule_before_any_app_is_there() -> None:
    code = (
        "import django, sys; from django_token_pricing.schedules import beat_schedule; print(len(beat_schedule()));"
        "sys.exit('celery' in sys.modules or 'django_token_pricing.models' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, str(len(TASKS))), done.stderr


# What is planned ------------------------------------------------------------------------------------------------------


def test_of_several_entries_for_a_task_that_which_runs_most_often_counts(
    settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    install(capsys)
    settings.CELERY_BEAT_SCHEDULE = {"nightly": {"task": EXPIRE, "schedule": schedules.crontab(hour=3, minute=10)}}
    assert beat.entries()[EXPIRE].every == timedelta(minutes=1)
    PeriodicTask.objects.filter(name=EXPIRE).update(enabled=False)
    entry = beat.entries()[EXPIRE]
    assert (entry.every, entry.is_enabled) == (None, True)
    assert entry.next_after(timezone.now()) > timezone.now()


# The check ------------------------------------------------------------------------------------------------------------


def warned(databases: list[str]) -> list[str]:
    found = run_checks(tags=[Tags.database], databases=databases)
    return [message.msg for message in found if message.id == "django_token_pricing.W001"]


def test_a_check_of_the_database_warns_of_tasks_that_beat_does_not_have(capsys: pytest.CaptureFixture[str]) -> None:
    assert EXPIRE in warned(["default"])[0]
    assert not warned([])
    install(capsys)
    assert not warned(["default"])
    PeriodicTask.objects.filter(name=EXPIRE).update(enabled=False)
    assert warned(["default"]) == [f"Nothing runs {EXPIRE} regularly."]


@pytest.mark.django_db(transaction=True)
def test_before_beats_tables_are_there_the_check_is_silent() -> None:
    table = PeriodicTask._meta.db_table
    with connection.schema_editor() as editor:
        editor.alter_db_table(PeriodicTask, table, "beat_gone")
    try:
        assert not warned(["default"])
    finally:
        with connection.schema_editor() as editor:
            editor.alter_db_table(PeriodicTask, "beat_gone", table)
