"""Roll-ups in tests that run inside one transaction, whose rows a fold on PostgreSQL rightly leaves for later."""

from __future__ import annotations

from django.db import connection

from django_token_pricing import analytics
from django_token_pricing.models import LedgerEntry, TokenUsageLog


def roll_up() -> None:
    """All rows there are into the roll-ups, as if their transactions had ended long ago."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('token_pricing.maintenance', 'on', true)")
            for model in (TokenUsageLog, LedgerEntry):
                cursor.execute(f"UPDATE {model._meta.db_table} SET xid = NULL WHERE xid IS NOT NULL")
            cursor.execute("SELECT set_config('token_pricing.maintenance', '', true)")
        analytics.rebuild()
    analytics.fold()
