"""What people make of alerts: acknowledge, resolve, mute and reopen, each with who and why in the audit trail."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from django_token_pricing import audit
from django_token_pricing.analytics.anomalies.finding import database
from django_token_pricing.choices import AnomalyState
from django_token_pricing.exceptions import InvalidMoment
from django_token_pricing.lib.steps import steps
from django_token_pricing.models import Anomaly

MOST_NOTE = 500


def acknowledge(
    anomalies: Iterable[Anomaly], *, is_real: bool | None, note: str = "", actor: models.Model | None
) -> int:
    """Somebody looks after these alerts, and may say whether it was right to tell; that makes a rule's precision.

    Answers how many changed.
    """
    return _decide(anomalies, AnomalyState.ACKNOWLEDGED, note, actor, is_real=is_real)


def resolve(
    anomalies: Iterable[Anomaly], *, is_real: bool | None = None, note: str = "", actor: models.Model | None
) -> int:
    """It is over. What was said of whether it was right to tell stays, unless it is said anew."""
    return _decide(anomalies, AnomalyState.RESOLVED, note, actor, is_real=is_real)


def mute(anomalies: Iterable[Anomaly], *, until: datetime, note: str = "", actor: models.Model | None) -> int:
    """Tell nothing more of the same rule and target until then. Raises InvalidMoment for what is past."""
    if timezone.is_naive(until) or until <= timezone.now():
        raise InvalidMoment(name="until", value=until, detail=_("it is not in the future."))
    return _decide(anomalies, AnomalyState.MUTED, note, actor, muted_until=until)


def reopen(anomalies: Iterable[Anomaly], *, note: str = "", actor: models.Model | None) -> int:
    """As if nobody had decided; what was said of whether it was right to tell is taken back."""
    return _decide(anomalies, AnomalyState.OPEN, note, actor)


def _decide(
    anomalies: Iterable[Anomaly],
    state: AnomalyState,
    note: str,
    actor: models.Model | None,
    *,
    is_real: bool | None = None,
    muted_until: datetime | None = None,
) -> int:
    using = database()
    keys = sorted(anomaly.pk for anomaly in anomalies)
    count = 0
    with transaction.atomic(using=using):
        for step in steps(keys):
            for row in Anomaly.objects.using(using).select_for_update().filter(pk__in=step).order_by("pk"):
                count += _changed(row, state, note, actor, is_real, muted_until, using)
    return count


def _changed(
    row: Anomaly,
    state: AnomalyState,
    note: str,
    actor: models.Model | None,
    is_real: bool | None,
    muted_until: datetime | None,
    using: str,
) -> bool:
    wanted: dict[str, Any] = {
        "state": state.value,
        "is_real": None if state == AnomalyState.OPEN else row.is_real if is_real is None else is_real,
        "muted_until": muted_until,
    }
    changes = {name: (getattr(row, name), value) for name, value in wanted.items() if getattr(row, name) != value}
    if not changes:
        return False
    for name, value in wanted.items():
        setattr(row, name, value)
    row.note, row.decided_at = note[:MOST_NOTE], timezone.now()
    row.decided_by_id = None if actor is None else actor.pk
    row.save(using=using, update_fields=[*wanted, "note", "decided_at", "decided_by"])
    audit.record(f"anomalies.{DEEDS[state]}", target=row, actor=actor, reason=note, changes=changes, using=using)
    return True


DEEDS = {
    AnomalyState.ACKNOWLEDGED: "acknowledge",
    AnomalyState.RESOLVED: "resolve",
    AnomalyState.MUTED: "mute",
    AnomalyState.OPEN: "reopen",
}
