"""Intervals and results of runs as people read them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext, ngettext_lazy, pgettext

from django_token_pricing.admin.base.charts import clipped
from django_token_pricing.admin.base.wording import NOTHING, number
from django_token_pricing.choices import RunOutcome
from django_token_pricing.models import ScheduledRun
from django_token_pricing.schedules import SCHEDULES

# State and symbol of the badge.
OUTCOMES = {
    RunOutcome.RUNNING.value: ("info", "clock"),
    RunOutcome.DONE.value: ("ok", "ok"),
    RunOutcome.FAILED.value: ("bad", "bad"),
}
# What tasks answer with.
RESULTS: dict[str, Any] = {
    "lots": ngettext_lazy("%(count)s lot", "%(count)s lots", "n"),
    "tokens": ngettext_lazy("%(count)s token", "%(count)s tokens", "n"),
    "holds": ngettext_lazy("%(count)s hold", "%(count)s holds", "n"),
    "accounts": ngettext_lazy("%(count)s account", "%(count)s accounts", "n"),
    "jobs": ngettext_lazy("%(count)s job", "%(count)s jobs", "n"),
    "requests": ngettext_lazy("%(count)s request", "%(count)s requests", "n"),
    "events": ngettext_lazy("%(count)s event", "%(count)s events", "n"),
    "warnings": ngettext_lazy("%(count)s warning", "%(count)s warnings", "n"),
    "notifications": ngettext_lazy("%(count)s notification", "%(count)s notifications", "n"),
    "sent": ngettext_lazy("%(count)s mail sent", "%(count)s mails sent", "n"),
    "unreachable": ngettext_lazy("%(count)s without an address", "%(count)s without an address", "n"),
    "waiting": ngettext_lazy("%(count)s tried again", "%(count)s tried again", "n"),
    "failed": ngettext_lazy("%(count)s given up", "%(count)s given up", "n"),
    "forecasts": ngettext_lazy("%(count)s forecast", "%(count)s forecasts", "n"),
    "alerts": ngettext_lazy("%(count)s alert", "%(count)s alerts", "n"),
    "problems": ngettext_lazy("%(count)s problem", "%(count)s problems", "n"),
}
MOST_PROBLEM = 160


def every(interval: timedelta) -> str:
    seconds = int(interval.total_seconds())
    if seconds % 3600 == 0:
        hours = seconds // 3600
        return ngettext("Every hour", "Every %(count)s hours", hours) % {"count": number(hours)}
    if seconds % 60 == 0:
        minutes = seconds // 60
        return ngettext("Every minute", "Every %(count)s minutes", minutes) % {"count": number(minutes)}
    return ngettext("Every second", "Every %(count)s seconds", seconds) % {"count": number(seconds)}


def took(run: ScheduledRun) -> str:
    if run.finished_at is None:
        return NOTHING
    seconds = (run.finished_at - run.started_at).total_seconds()
    if seconds < 1:
        return _("under a second")
    return lasted(timedelta(seconds=seconds))


def lasted(length: timedelta) -> str:
    """A length in its largest unit."""
    seconds = max(round(length.total_seconds()), 1)
    if seconds < 120:
        return ngettext("%(count)s second", "%(count)s seconds", seconds) % {"count": number(seconds)}
    minutes = round(seconds / 60)
    if minutes < 120:
        return ngettext("%(count)s minute", "%(count)s minutes", minutes) % {"count": number(minutes)}
    hours = round(seconds / 3600)
    if hours < 48:
        return ngettext("%(count)s hour", "%(count)s hours", hours) % {"count": number(hours)}
    days = round(seconds / 86_400)
    return ngettext("%(count)s day", "%(count)s days", days) % {"count": number(days)}


def result(run: ScheduledRun) -> str:
    """What it did, or why it failed."""
    if run.outcome == RunOutcome.FAILED:
        return clipped(run.problem, MOST_PROBLEM)
    if run.outcome == RunOutcome.RUNNING:
        return NOTHING
    parts = [_counted(name, value) for name, value in run.result.items() if name != "gap_seconds" and value]
    words = pgettext("list", ", ").join(parts) or _("Nothing to do")
    if not run.problem:
        return words
    return pgettext("sentences", "%(first)s. %(second)s") % {"first": words, "second": run.problem}


def _counted(name: str, value: Any) -> str:
    if name == "job":
        return _("Job %(number)s") % {"number": value}
    if name in RESULTS and isinstance(value, int):
        return str(RESULTS[name] % {"n": value, "count": number(value)})
    return pgettext("result", "%(name)s: %(value)s") % {"name": name.replace("_", " "), "value": value}


def name_of(task: str) -> str:
    """A task that is scheduled no more keeps its own name."""
    return next((str(schedule.name) for schedule in SCHEDULES if schedule.task == task), task)
