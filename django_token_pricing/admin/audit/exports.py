"""The file of the audit trail."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from django_token_pricing import jobs
from django_token_pricing.admin.base.exports import Export
from django_token_pricing.admin.tokens.exports import in_order
from django_token_pricing.models import AuditEvent


@jobs.register
class EventsExport(Export):
    kind = "export.auditevent"
    permission = "django_token_pricing.export_auditevent"
    model = AuditEvent
    file_stem = "audit"

    def columns(self, user: Any) -> list[str]:
        named = ["actor", "action", "target_type", "target_id", "target_label"]
        return ["at", *named, "reason", "changes", "count"]

    def rows(self, keys: Sequence[Any], user: Any) -> Iterator[Sequence[Any]]:
        columns = self.columns(user)
        fields = ["actor_label" if name == "actor" else name for name in columns]
        for row in in_order(AuditEvent.objects.order_by(), keys, *fields):
            row["changes"] = json.dumps(row["changes"], ensure_ascii=False) if row["changes"] else None
            yield [row[name] for name in fields]
