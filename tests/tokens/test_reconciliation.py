"""Reconciling finds what was changed behind the ledger's back."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from django_token_pricing import tokens
from tests.world import new_pool, new_user

pytestmark = pytest.mark.django_db(transaction=True)

BREAKAGES = [
    "UPDATE django_token_pricing_tokenallocation SET remaining = remaining - 1 WHERE remaining > 1",
    "UPDATE django_token_pricing_tokenaccount SET balance = balance + 1",
    "UPDATE django_token_pricing_tokenaccount SET booked_at = NULL",
    "UPDATE django_token_pricing_ledgerentry SET amount = amount - 1 WHERE kind = 'consume'",
    "UPDATE django_token_pricing_ledgerentry SET balance_after = balance_after + 1 WHERE kind = 'consume'",
    "UPDATE django_token_pricing_ledgerentry SET lot_balance = lot_balance + 1 WHERE kind = 'consume'",
    "UPDATE django_token_pricing_tokenusagelog SET amount = amount + 1 WHERE amount = 15",
    "UPDATE django_token_pricing_tokenusagelog SET is_charged = {false} WHERE amount = 15",
    "UPDATE django_token_pricing_tokenhold SET amount = amount + 1",
    "UPDATE django_token_pricing_tokenholdlot SET amount = 1000000",
    "UPDATE django_token_pricing_pooldraw SET drawn = drawn + 1",
    "UPDATE django_token_pricing_tokenusagelog SET {key} = 'other' WHERE amount = 15",
    "UPDATE django_token_pricing_limitcounter SET tokens = tokens + 1 WHERE ends_at IS NULL",
    "UPDATE django_token_pricing_limitcounter SET requests = requests + 1 WHERE ends_at IS NOT NULL",
]


@pytest.fixture
def sound_ledger() -> None:
    """These tests leave broken books on purpose."""


@pytest.fixture
def ledger() -> Any:
    user = new_user()
    pool = new_pool(user, cap=100)
    tokens.grant(user, 10, source="plan")
    tokens.grant(pool, 50, source="plan")
    for window in ("day", "total"):
        tokens.set_limit(scope="pool", pool=pool, window=window, limit=90, reason="fair use", actor=None)
    tokens.consume(user, 15, key="message:1")
    tokens.refund("message:1", 2, key="refund:1", reason="half an answer")
    tokens.grant(user, 30, source="manual")
    tokens.hold(user, 20, key="job:1")
    return user


def test_sound_books_agree(ledger: Any) -> None:
    assert list(tokens.reconcile()) == []
    out = StringIO()
    call_command("token_pricing_reconcile", stdout=out)
    assert "agree" in out.getvalue()


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_row_that_was_tampered_with_is_named(ledger: Any, breakage: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT set_config('token_pricing.maintenance', 'on', true)")
        false = "false" if connection.vendor == "postgresql" else "0"
        cursor.execute(breakage.format(false=false, key=connection.ops.quote_name("key")))
        assert cursor.rowcount
    found = list(tokens.reconcile())
    assert found
    assert breakage.split()[1].endswith(tuple(row.table for row in found)) or "tokenholdlot" in breakage
    out = StringIO()
    with pytest.raises(CommandError, match="disagree"):
        call_command("token_pricing_reconcile", stdout=out)
    assert str(found[0].row) in out.getvalue()


@pytest.mark.postgres
def test_reconciling_inside_another_transaction_is_refused(ledger: Any) -> None:
    with transaction.atomic(), pytest.raises(tokens.UnsupportedIsolation):
        list(tokens.reconcile())
