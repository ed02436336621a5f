"""Versions of rows that people edit, for deeds on many at once: simple-history sees single saves and deletes alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from django_token_pricing.lib.steps import STEP

ADDED, CHANGED, DELETED = "+", "~", "-"


def write(
    kind: str, rows: Sequence[models.Model], *, actor: models.Model | None, reason: str, using: str | None = None
) -> None:
    """One version of each row as it is now (of those that are gone: as they were), all of one moment.

    Call it inside the transaction of the deed, like `audit.record`. The rows are of one model and have their keys.
    """
    # The switch that simple-history's own signals ask.
    if not rows or not getattr(settings, "SIMPLE_HISTORY_ENABLED", True):
        return
    model: Any = type(rows[0])
    version = model.history.model
    now = timezone.now()
    terms = {
        "history_type": kind,
        "history_date": now,
        "history_user_id": None if actor is None else actor.pk,
        "history_change_reason": fitting(reason, version),
    }
    made = [
        version(**{field.attname: getattr(row, field.attname) for field in version.tracked_fields}, **terms)
        for row in rows
    ]
    version.objects.using(using).bulk_create(made, batch_size=STEP)


def fitting(reason: str, version: Any) -> str:
    """The reason as far as a version can hold it; the audit event has all of it."""
    return reason[: version._meta.get_field("history_change_reason").max_length]
