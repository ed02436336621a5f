"""Trying a rule out: a job lets it look at the last days, and says what it would have told, before it is saved."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing import jobs
from django_token_pricing.analytics.anomalies.finding import GAP, Sight, database, require_possible
from django_token_pricing.analytics.anomalies.measured import HISTORY, Odd
from django_token_pricing.choices import AnomalyScope, JobStatus
from django_token_pricing.exceptions import InvalidInput
from django_token_pricing.models import AnomalyRule, Job

KIND = "analytics.anomaly_replay"
MOST_DAYS = 180
# On accounts each day reads rows of usage.
MOST_DAYS_OF_ACCOUNTS = 31
# Alerts that are shown with the result; all are counted.
EXAMPLES = 50
TERMS = ("kind", "scope", "sensitivity", "least")


def terms(rule: AnomalyRule) -> dict[str, Any]:
    """The values of a rule on which its alerts depend."""
    return {name: getattr(rule, name) for name in TERMS}


def ask_anomaly_replay(values: Mapping[str, Any], *, days: int, actor: Any, key: UUID) -> Job:
    """Ask for a trial of a rule with these `terms` on the last days. The same key gives the same job.

    Raises InvalidInput.
    """
    return jobs.create(KIND, params={**_exact(values), "days": days}, actor=actor, key=key)


def anomaly_replay_of(values: Mapping[str, Any], *, max_age: timedelta) -> Job | None:
    """The newest finished trial of exactly these values that is no older."""
    wanted, since = _exact(values), timezone.now() - max_age
    done = Job.objects.using(database()).filter(kind=KIND, status=JobStatus.DONE, finished_at__gte=since)
    for job in done.order_by("-pk")[:200]:
        if {name: job.params.get(name) for name in TERMS} == wanted:
            return job
    return None


def _exact(values: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: values.get(name) for name in TERMS}
    return {**found, "kind": str(found["kind"]), "scope": str(found["scope"])}


def _rule(params: Mapping[str, Any]) -> AnomalyRule:
    """Not saved. Raises InvalidInput."""
    rule = AnomalyRule(name="-", **{name: params.get(name) for name in TERMS})
    try:
        rule.clean_fields(exclude=["name"])
    except ValidationError as error:
        raise InvalidInput(detail=" ".join(error.messages)) from error
    require_possible(rule.kind, rule.scope)
    return rule


@jobs.register
class ReplayAnomalyRule(jobs.Handler):
    """`params`: the `terms` of a rule, and `days`. Nothing is changed but the job."""

    kind = KIND
    permission = "django_token_pricing.view_anomalyrule"
    is_confirmed = False

    def title(self, job: Job) -> str:
        days = int(job.params["days"])
        words = ngettext(
            "Trial of an anomaly rule on %(count)s day", "Trial of an anomaly rule on %(count)s days", days
        )
        return words % {"count": days}

    def check(self, params: dict[str, Any]) -> None:
        days = params.get("days")
        most = MOST_DAYS_OF_ACCOUNTS if params.get("scope") == AnomalyScope.ACCOUNT else MOST_DAYS
        if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= most:
            raise InvalidInput(detail=_("A trial goes back from 1 to %(most)s days.") % {"most": most})
        _rule(params)

    def prepare(self, job: Job, beat: jobs.Beat) -> None:
        """All the work is done here: it only reads."""
        Job.objects.using(job._state.db).filter(pk=job.pk).update(started_at=timezone.now())
        self.check(job.params)
        rule = _rule(job.params)
        now = timezone.now()
        since = now - timedelta(days=job.params["days"])
        beat()
        odds = _joined(Sight(now, HISTORY + timedelta(days=job.params["days"])).odds(rule, since, beat))
        days: dict[str, int] = {}
        for odd in odds:
            day = odd.starts_at.date().isoformat()
            days[day] = days.get(day, 0) + 1
        newest = sorted(odds, key=lambda odd: odd.starts_at, reverse=True)
        job.preview = {"since": since.isoformat(), "until": now.isoformat()}
        job.result = {
            "alerts": len(odds),
            "a_week": round(len(odds) * 7 / job.params["days"], 2),
            "targets": len({odd.target for odd in odds}),
            "days": days,
            "examples": [_example(odd) for odd in newest[:EXAMPLES]],
        }
        job.total = job.done = len(odds)


def _joined(odds: Any) -> list[Odd]:
    """As they would have been told: what begins soon after the last of the same target belongs to it."""
    found: list[Odd] = []
    for odd in sorted(odds, key=lambda odd: (odd.target, odd.starts_at)):
        last = found[-1] if found else None
        if last is not None and last.target == odd.target and odd.starts_at <= last.ends_at + GAP:
            worse = odd if (odd.score or 0, abs(odd.value)) > (last.score or 0, abs(last.value)) else last
            found[-1] = Odd(
                last.starts_at,
                max(last.ends_at, odd.ends_at),
                worse.value,
                worse.expected,
                worse.score,
                worse.facts,
                last.target,
                last.account,
            )
        else:
            found.append(odd)
    return found


def _example(odd: Odd) -> dict[str, Any]:
    return {
        "target": odd.target,
        "account": odd.account,
        "starts_at": odd.starts_at.isoformat(),
        "ends_at": odd.ends_at.isoformat(),
        "value": odd.value,
        "expected": odd.expected,
        "score": odd.score,
        "facts": odd.facts,
    }
