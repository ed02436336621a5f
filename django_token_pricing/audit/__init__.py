"""The audit trail: record a deed in the transaction that does it, and find it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils.encoding import force_str

from django_token_pricing.models import AuditEvent

__all__ = ["label", "record"]

_encoder = DjangoJSONEncoder()


def record(
    action: str,
    *,
    target: models.Model | None = None,
    actor: models.Model | None = None,
    reason: str = "",
    changes: Mapping[str, tuple[Any, Any]] | None = None,
    count: int = 1,
    using: str | None = None,
) -> AuditEvent:
    """Write one event: who did what (a dotted `action`) to which row, from what to what, and why.

    Call it inside the transaction of the deed, so that neither is there without the other. `changes` maps a field to
    its value before and after; `count` is the number of rows of a deed on many. A `target` is named as it is called
    now: the row may be gone when somebody reads this.
    """
    event = AuditEvent(
        action=action,
        actor_id=None if actor is None else actor.pk,
        actor_label=label(actor),
        target_type=target._meta.label_lower if target is not None else "",
        target_id=str(target.pk) if target is not None else "",
        target_label=label(target),
        reason=reason,
        changes={name: [_plain(before), _plain(after)] for name, (before, after) in (changes or {}).items()},
        count=count,
    )
    event.save(using=using, force_insert=True)
    return event


def label(row: models.Model | None) -> str:
    """What a person or a row is called now, for when it is gone."""
    if row is None:
        return ""
    natural = getattr(row, "get_username", None)
    return force_str(natural() if natural else row)[:255]


def _plain(value: Any) -> Any:
    """What JSON can hold as it is, and the text that Django would store for moments and decimals."""
    if value is None or isinstance(value, (str, int, float, bool, list, dict)):
        return value
    try:
        return _encoder.default(value)
    except TypeError:
        return force_str(value)
