"""Alerts of odd usage or cost: operators are told of them, in one notification a rule however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing import analytics, signals
from django_token_pricing.choices import AnomalyKind, AnomalyScope, NotificationKind
from django_token_pricing.models import Anomaly, AnomalyRule, Notification
from django_token_pricing.notifications.firing import BATCH, as_preferred, database, operators


def tell_anomalies(new: Sequence[Anomaly]) -> None:
    """Write down who is told of these alerts of one rule. Call it in the transaction that writes the alerts."""
    if not new:
        return
    using, at = database(), timezone.now()
    worst = max(new, key=lambda anomaly: (anomaly.score or 0, abs(anomaly.value)))
    facts = {
        "count": len(new),
        "anomaly": worst.pk,
        "rule": worst.rule.name,
        "kind": worst.kind,
        "scope": worst.scope,
        "target": worst.target,
        "reason": _facts(worst),
    }
    account = worst.account_id if len(new) == 1 else None
    rows = [
        Notification(user_id=user, account_id=account, kind=NotificationKind.ANOMALY.value, facts=facts, created_at=at)
        for user in operators(using)
    ]
    made = Notification.objects.using(using).bulk_create(as_preferred(rows, using), batch_size=BATCH)
    if made:
        tell = partial(signals.warnings_fired.send_robust, sender=AnomalyRule, notifications=made)
        transaction.on_commit(tell, using=using)


def anomaly_words(facts: dict[str, object], account: str) -> tuple[str, str]:
    """Title and text in the active language. Costs are told as multiples of the usual: not all readers may see them."""
    count = int(str(facts["count"]))
    kind, scope = AnomalyKind(str(facts["kind"])), AnomalyScope(str(facts["scope"]))
    terms = {"kind": kind.label, "target": account or facts["target"], "count": count, "rule": facts["rule"]}
    if count > 1:
        title = ngettext("%(kind)s: %(count)s alert", "%(kind)s: %(count)s alerts", count) % terms
    else:
        title = (_("%(kind)s: the site") if scope == AnomalyScope.SITE else _("%(kind)s: %(target)s")) % terms
    reason = analytics.anomalies.reason(_anomaly(facts), with_costs=False)
    text = _("The worst of them: %(reason)s") % {"reason": reason} if count > 1 else reason
    return title, " ".join((text, _("The rule: %(rule)s.") % terms))


def _facts(anomaly: Anomaly) -> dict[str, object]:
    return {
        "value": str(anomaly.value),
        "expected": None if anomaly.expected is None else str(anomaly.expected),
        "score": None if anomaly.score is None else str(anomaly.score),
        "starts_at": anomaly.starts_at.isoformat(),
        "ends_at": anomaly.ends_at.isoformat(),
        "facts": anomaly.facts,
    }


def _anomaly(facts: dict[str, object]) -> Anomaly:
    """As it was when it was told; what became of it since is on its page."""
    told = facts["reason"]
    assert isinstance(told, dict)  # noqa: S101 - written by tell_anomalies
    field: Any = Anomaly._meta.get_field
    values = {name: field(name).to_python(value) for name, value in told.items() if name != "facts"}
    return Anomaly(kind=str(facts["kind"]), scope=str(facts["scope"]), facts=told["facts"], **values)
