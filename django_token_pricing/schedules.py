"""What runs regularly, in one list. Settings modules import this, so it needs neither the app registry nor Celery."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True, slots=True)
class Schedule:
    """A task, how often it should run, and what it does in words."""

    task: str
    every: timedelta
    name: Any
    description: Any


SCHEDULES = (
    Schedule(
        "django_token_pricing.jobs.sweep",
        timedelta(seconds=30),
        _("Go on with bulk work"),
        _("Takes up jobs that no worker has, and removes what old jobs leave behind."),
    ),
    Schedule(
        "django_token_pricing.tokens.expire",
        timedelta(minutes=1),
        _("Book what has lapsed"),
        _("Writes expired tokens and holds into the books. Balances are right before it."),
    ),
    Schedule(
        "django_token_pricing.tokens.refresh_summaries",
        timedelta(minutes=5),
        _("Refresh the lists of accounts"),
        _("Computes anew what lists of accounts sort and filter by."),
    ),
    Schedule(
        "django_token_pricing.analytics.fold",
        timedelta(minutes=1),
        _("Bring analytics up to date"),
        _("Adds new rows of usage and of the ledger to what dashboards read."),
    ),
    Schedule(
        "django_token_pricing.analytics.advise",
        timedelta(days=1),
        _("Suggest allocations"),
        _("Computes what the accounts of each tier would be content with, by what they used in the last whole months."),
    ),
    Schedule(
        "django_token_pricing.analytics.find_anomalies",
        timedelta(hours=1),
        _("Find what is odd in usage and cost"),
        _("Looks at the last hours with the anomaly rules, and tells the operators of new alerts."),
    ),
    Schedule(
        "django_token_pricing.analytics.forecast",
        timedelta(days=1),
        _("Make the forecasts"),
        _("Tokens and cost of the next days, with the error that the method had in the past."),
    ),
    Schedule(
        "django_token_pricing.payments.sync",
        timedelta(minutes=5),
        _("Read subscriptions and payments"),
        _("Reads what the site told of them since last time."),
    ),
    Schedule(
        "django_token_pricing.automation.renew",
        timedelta(minutes=1),
        _("Renew subscriptions"),
        _("Grants the tokens of periods that have begun, and carries over what is left of those that ended."),
    ),
    Schedule(
        "django_token_pricing.notifications.warn",
        timedelta(minutes=5),
        _("Warn of low balances, expiry and limits"),
        _("Finds who is to be warned and writes it down; the lists of accounts say who is low."),
    ),
    Schedule(
        "django_token_pricing.notifications.deliver",
        timedelta(minutes=1),
        _("Send the mails of warnings"),
        _("Sends what waits, and tries again what a mail server refused."),
    ),
    Schedule(
        "django_token_pricing.approvals.expire",
        timedelta(minutes=15),
        _("Close requests for approval whose time is over"),
        _("Nobody can approve them any more in any case; afterwards the list says so."),
    ),
)


def beat_schedule() -> dict[str, dict[str, Any]]:
    """What CELERY_BEAT_SCHEDULE takes: all of them, under names of ours, so that yours can be added."""
    return {schedule.task: {"task": schedule.task, "schedule": schedule.every} for schedule in SCHEDULES}
