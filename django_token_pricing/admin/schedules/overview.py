"""One row for each task that is scheduled: how often, its last run, the next, and whether all is well."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin import AdminSite
from django.db.models import Max, Q
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _

from django_token_pricing.admin.base.mixins import list_url
from django_token_pricing.admin.base.wording import NOTHING, clock
from django_token_pricing.admin.schedules import wording
from django_token_pricing.choices import RunOutcome
from django_token_pricing.models import ScheduledRun
from django_token_pricing.schedules import SCHEDULES, Schedule
from django_token_pricing.tasks import beat

# So much later than planned a run may start: the worker may be busy for a moment.
GRACE = timedelta(minutes=1)
# Where beat does not know a task, cron may run its command less often.
CRON_GRACE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Row:
    task: str
    name: str
    description: str
    how_often: str
    last: str
    took: str
    result: str
    next: str
    state: str
    word: str
    symbol: str
    runs_url: str
    beat_url: str


def rows(site: AdminSite, request: HttpRequest, as_of: datetime) -> list[Row]:
    """In three short queries, however many runs there are."""
    planned = beat.entries()
    newest = _newest()
    return [
        _row(site, request, schedule, planned.get(schedule.task), *newest.get(schedule.task, (None, None)), as_of)
        for schedule in SCHEDULES
    ]


def _newest() -> dict[str, tuple[ScheduledRun | None, ScheduledRun | None]]:
    """By task the newest run, and the newest that is over."""
    tasks = [schedule.task for schedule in SCHEDULES]
    over = ~Q(outcome=RunOutcome.RUNNING)
    found = ScheduledRun.objects.filter(task__in=tasks).order_by().values_list("task")
    keys = {task: (last, ended) for task, last, ended in found.annotate(Max("pk"), ended=Max("pk", filter=over))}
    there = ScheduledRun.objects.in_bulk({key for pair in keys.values() for key in pair if key})
    return {task: (there.get(last), there.get(ended)) for task, (last, ended) in keys.items()}


def _row(
    site: AdminSite,
    request: HttpRequest,
    schedule: Schedule,
    entry: beat.Entry | None,
    last: ScheduledRun | None,
    ended: ScheduledRun | None,
    as_of: datetime,
) -> Row:
    state, word, symbol = _state(schedule, entry, last, ended, as_of)
    return Row(
        task=schedule.task,
        name=str(schedule.name),
        description=str(schedule.description),
        how_often=_how_often(entry),
        last=clock(last.started_at, as_of) if last else _("Never"),
        took=wording.took(last) if last and last.finished_at else "",
        result=wording.result(ended) if ended else NOTHING,
        next=_next(entry, last, as_of),
        state=state,
        word=word,
        symbol=symbol,
        runs_url=list_url(site, ScheduledRun, task=schedule.task) if last else "",
        beat_url=_beat_url(site, request, entry),
    )


def _how_often(entry: beat.Entry | None) -> str:
    if entry is None:
        return _("Not in Celery's schedule")
    return wording.every(entry.every) if entry.every else entry.words


def _next(entry: beat.Entry | None, last: ScheduledRun | None, as_of: datetime) -> str:
    if entry is None or not entry.is_enabled:
        return NOTHING
    if last is None:
        return _("As soon as beat runs")
    moment = entry.next_after(last.started_at)
    return clock(moment, as_of) if moment > as_of else _("Now due")


def _state(
    schedule: Schedule,
    entry: beat.Entry | None,
    last: ScheduledRun | None,
    ended: ScheduledRun | None,
    as_of: datetime,
) -> tuple[str, str, str]:
    """State, word and symbol of the badge; what has to be acted on comes first."""
    if entry is not None and not entry.is_enabled:
        return "idle", _("Switched off"), "idle"
    if last is None:
        if entry is None:
            return "warn", _("Not scheduled"), "warn"
        return "warn", _("Never ran"), "warn"
    if ended is not None and ended.outcome == RunOutcome.FAILED:
        return "bad", _("Failed"), "bad"
    if entry is None:
        due = last.started_at + schedule.every + CRON_GRACE
    else:
        # The second of two planned runs in a row is missing, or the first of those that come seldom.
        due = entry.next_after(last.started_at) + min(entry.every or GRACE, timedelta(hours=1)) + GRACE
    if due < as_of:
        return "warn", _("Late") if entry else _("Not scheduled"), "warn"
    if last.outcome == RunOutcome.RUNNING:
        return "info", _("Running"), "clock"
    return "ok", _("On time"), "ok"


def _beat_url(site: AdminSite, request: HttpRequest, entry: beat.Entry | None) -> str:
    """The row's page in django-celery-beat's own admin, for who may see it there."""
    if entry is None or entry.pk is None:
        return ""
    user: Any = request.user
    if not any(user.has_perm(f"django_celery_beat.{verb}_periodictask") for verb in ("view", "change")):
        return ""
    try:
        return reverse("admin:django_celery_beat_periodictask_change", args=[entry.pk], current_app=site.name)
    except NoReverseMatch:
        return ""
