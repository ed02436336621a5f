"""Trying a tighter limit on past usage before it is saved: the stored result for exactly these values, or a new job."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid5

from django.contrib.admin import AdminSite
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing import tokens
from django_token_pricing.admin.base.mixins import object_url
from django_token_pricing.admin.base.wording import day, number
from django_token_pricing.choices import JobStatus
from django_token_pricing.models import Job, LimitRule
from django_token_pricing.tokens.limits import changes

DAYS = 30
# An older result says too little of now.
MAX_AGE = timedelta(days=7)
COUNTS = {"refused": "refused", "uses": "governed", "accounts": "accounts_refused"}


@dataclass(frozen=True, slots=True)
class Trial:
    """A job that tries a limit out, or has; `state` is that of the note which says so."""

    job: int
    url: str
    is_done: bool
    state: str
    symbol: str
    lines: list[str]


def start(wanted: LimitRule, rule: LimitRule | None, *, actor: Any, key: UUID) -> Job:
    """Let a worker try it out, once however often the form is sent. Raises InvalidInput."""
    values = _values(wanted, rule)
    return tokens.ask_replay(values, days=DAYS, actor=actor, key=_key(values, key))


def trial_of(site: AdminSite, wanted: LimitRule, rule: LimitRule | None, *, key: UUID) -> Trial | None:
    """The finished trial of exactly these values, by whomever; else the one that this form has started."""
    values = _values(wanted, rule)
    done = tokens.replay_of(values, max_age=MAX_AGE)
    if done is not None:
        return _told(site, done)
    started = Job.objects.filter(key=_key(values, key)).first()
    return None if started is None else _told(site, started)


def _values(wanted: LimitRule, rule: LimitRule | None) -> dict[str, Any]:
    return {**changes.terms(wanted), "rule": None if rule is None else rule.pk}


def _key(values: dict[str, Any], key: UUID) -> UUID:
    return uuid5(key, json.dumps(values, sort_keys=True))


def _told(site: AdminSite, job: Job) -> Trial:
    url = object_url(site, Job, job.pk)
    if job.status == JobStatus.DONE:
        refused = bool(job.result["refused"] or job.result["over_uses"])
        return Trial(job.pk, url, True, *(("warn", "warn") if refused else ("ok", "ok")), _result(job))
    if job.status in (JobStatus.FAILED, JobStatus.CANCELED):
        return Trial(job.pk, url, False, "bad", "bad", [_("It could not be tried out."), job.problem])
    return Trial(job.pk, url, False, "info", "clock", [_("It is being tried out. Look again in a moment.")])


def _result(job: Job) -> list[str]:
    """Who would have been refused, how often, and how old that is."""
    found = job.result
    lines = []
    if found["refused"]:
        words = ngettext(
            "%(refused)s of %(uses)s uses would have been refused, all of one account.",
            "%(refused)s of %(uses)s uses would have been refused, of %(accounts)s accounts.",
            found["accounts_refused"],
        )
        facts = {name: number(found[key]) for name, key in COUNTS.items()}
        lines.append(words % facts)
        if found["days"]:
            worst = max(found["days"], key=lambda name: (found["days"][name], name))
            lines.append(
                _("Most of them on %(day)s: %(count)s.")
                % {"day": day(date.fromisoformat(worst)), "count": number(found["days"][worst])}
            )
    else:
        words = ngettext(
            "None of %(count)s use would have been refused.",
            "None of %(count)s uses would have been refused.",
            found["governed"],
        )
        lines.append(words % {"count": number(found["governed"])})
    if job.finished_at is not None:
        words = _("Tried %(ago)s ago on the last %(days)s days, with exactly these values.")
        lines.append(words % {"ago": timesince(job.finished_at), "days": job.params["days"]})
    return lines
