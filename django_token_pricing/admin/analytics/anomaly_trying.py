"""Trying an anomaly rule on past usage: the stored result for exactly these values, and the page of the job."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from django.contrib.admin import AdminSite
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing.admin.analytics.section import may
from django_token_pricing.admin.base.mixins import may_view, object_url
from django_token_pricing.admin.base.parts import Card
from django_token_pricing.admin.base.wording import moment, number
from django_token_pricing.admin.jobs.panels import Panel, register
from django_token_pricing.admin.tokens import owners
from django_token_pricing.analytics import anomalies
from django_token_pricing.analytics.anomalies.detecting import written
from django_token_pricing.choices import AnomalyKind, AnomalyScope, JobStatus
from django_token_pricing.models import Anomaly, Job, TokenAccount

DAYS = 30
# An older result says too little of now.
MAX_AGE = timedelta(days=7)
# More a week are hardly read by anybody.
MANY = 7


@dataclass(frozen=True, slots=True)
class Trial:
    """A job that tries a rule out, or has; `state` is that of the note which says so."""

    job: int
    url: str
    is_done: bool
    state: str
    symbol: str
    lines: list[str]


def start(values: Mapping[str, Any], *, actor: Any, key: UUID) -> Job:
    """Let a worker try it out, once however often the form is sent. Raises InvalidInput."""
    return anomalies.ask_anomaly_replay(values, days=DAYS, actor=actor, key=_key(values, key))


def trial_of(site: AdminSite, values: Mapping[str, Any], *, key: UUID) -> Trial | None:
    """The finished trial of exactly these values, by whomever; else the one that this form has started."""
    done = anomalies.anomaly_replay_of(values, max_age=MAX_AGE)
    started = done or Job.objects.filter(key=_key(values, key)).first()
    return None if started is None else _told(site, started)


def _key(values: Mapping[str, Any], key: UUID) -> UUID:
    return uuid5(key, json.dumps({name: str(value) for name, value in values.items()}, sort_keys=True))


def _told(site: AdminSite, job: Job) -> Trial:
    url = object_url(site, Job, job.pk)
    if job.status == JobStatus.DONE:
        state = "warn" if job.result["a_week"] > MANY else "ok"
        return Trial(job.pk, url, True, state, state, _result(job))
    if job.status in (JobStatus.FAILED, JobStatus.CANCELED):
        return Trial(job.pk, url, False, "bad", "bad", [_("It could not be tried out."), job.problem])
    return Trial(job.pk, url, False, "info", "clock", [_("It is being tried out. Look again in a moment.")])


def a_week(job: Job) -> str:
    return written(float(job.result["a_week"]))


def _result(job: Job) -> list[str]:
    words = ngettext(
        "It would have told %(count)s alert in %(days)s days: %(a_week)s a week.",
        "It would have told %(count)s alerts in %(days)s days: %(a_week)s a week.",
        job.result["alerts"],
    )
    facts = {"count": number(job.result["alerts"]), "days": number(job.params["days"]), "a_week": a_week(job)}
    example = _("For example %(when)s: %(why)s")
    told = job.result["examples"][:3]
    lines = [words % facts, *(example % {"when": _when(one), "why": reason_of(job, one)} for one in told)]
    if job.finished_at is not None:
        lines.append(_("Tried %(ago)s ago, with exactly these values.") % {"ago": timesince(job.finished_at)})
    return lines


def _when(example: Mapping[str, Any]) -> str:
    return moment(datetime.fromisoformat(example["starts_at"]))


def reason_of(job: Job, example: Mapping[str, Any]) -> str:
    """Costs as multiples: who may look at a job need not be one who may see costs."""
    fields: dict[str, Any] = {name: datetime.fromisoformat(example[name]) for name in ("starts_at", "ends_at")}
    fields |= {name: _number(example[name]) for name in ("value", "expected", "score")}
    facts = Anomaly(kind=job.params["kind"], scope=job.params["scope"], facts=example["facts"], **fields)
    return anomalies.reason(facts, with_costs=False)


def _number(value: float | None) -> Decimal | None:
    return None if value is None else Decimal(repr(round(value, 4)))


@register(anomalies.ReplayAnomalyRule.kind)
class AnomalyReplayPanel(Panel):
    """It changes nothing, so there is nothing to confirm: the result is the page."""

    course_template = "django_token_pricing/admin/analytics/anomaly_replay.html"
    has_own_end = True

    def preparing(self) -> str:
        return _("The rule looks at the usage of those days. Nothing is changed by a trial.")

    def counted(self, count: int) -> str:
        return ngettext("%(count)s alert", "%(count)s alerts", count) % {"count": number(count)}

    @property
    def is_done(self) -> bool:
        return self.job.status == JobStatus.DONE

    def results(self) -> Iterable[Card]:
        found = self.job.result
        if "alerts" not in found:
            return
        days = _("in %(days)s days") % {"days": number(self.job.params["days"])}
        yield Card(_("Alerts"), number(found["alerts"]), note=days)
        yield Card(_("A week"), a_week(self.job), note=_("that somebody would have had to look at"))
        yield Card(_("Targets"), number(found["targets"]), note=_("with an alert at least"))

    def facts(self) -> Iterable[tuple[str, str]]:
        params = self.job.params
        yield _("Looks for"), str(AnomalyKind(params["kind"]).label)
        yield _("In"), str(AnomalyScope(params["scope"]).label)
        yield _("Sensitivity"), number(params["sensitivity"])
        yield _("Least"), number(params["least"])
        if "since" in self.job.preview:
            since, until = (moment(datetime.fromisoformat(self.job.preview[name])) for name in ("since", "until"))
            yield _("Tried out on"), _("usage from %(since)s to %(until)s") % {"since": since, "until": until}

    def examples(self) -> list[dict[str, str]]:
        """The newest of them. One query, however many they are."""
        found = self.job.result.get("examples", [])
        keys = [one["account"] for one in found if one["account"] is not None]
        names: dict[int, str] = {}
        may_open = may_view(self.site, self.request, TokenAccount)
        if keys and may_open:
            accounts = owners.with_owner(TokenAccount.objects.filter(pk__in=keys), path="")
            rows = accounts.values_list("pk", "owner_login", "owner_pool")
            names = {pk: owners.name(login, pool, pk) for pk, login, pool in rows}
        if self.job.params["kind"] == AnomalyKind.COST_SPIKE and not may(self.request, "view_costs"):
            found = []
        return [
            {
                "when": _when(one),
                "which": names.get(one["account"], one["target"]) or _("The site"),
                "url": object_url(self.site, TokenAccount, one["account"]) if one["account"] and may_open else "",
                "why": reason_of(self.job, one),
            }
            for one in found
        ]

    def examples_lead(self) -> str:
        shown, found = len(self.job.result.get("examples", [])), self.job.result.get("alerts", 0)
        if shown == found:
            return self.counted(found)
        return _("the newest %(shown)s of %(all)s") % {"shown": number(shown), "all": self.counted(found)}
