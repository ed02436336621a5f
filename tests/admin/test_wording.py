"""Numbers, money and moments in words."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from django.utils import translation

from django_token_pricing.admin.base import wording
from django_token_pricing.admin.tokens import lots, spending
from django_token_pricing.admin.tokens.lots import LotRow, Lots

NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (999.95, "1k"),
        (1_000, "1k"),
        (1_250, "1.2k"),
        (29_512, "29.5k"),
        (99_960, "100k"),
        (999_949, "1M"),
        (4_300_000, "4.3M"),
        (-4_300_000, "−4.3M"),
        (2**63 - 1, "9223372T"),
        (7_000_000_000, "7B"),
    ],
)
def test_short_numbers(value: float, text: str) -> None:
    assert wording.short(value) == text


def test_numbers_follow_the_language() -> None:
    assert (wording.number(1_234_567), wording.number(-1_234), wording.signed(5), wording.signed(0)) == (
        "1,234,567",
        "−1,234",
        "+5",
        "0",
    )
    with translation.override("de"):
        assert (wording.number(1_234_567), wording.short(1_250_000)) == ("1.234.567", "1,2M")


@pytest.mark.parametrize(
    ("value", "text"),
    [("0", "EUR 0.00"), ("12.345", "EUR 12.34"), ("0.000123", "EUR 0.000123"), ("-1234.5", "EUR −1,234.50")],
)
def test_money(value: str, text: str) -> None:
    assert wording.money(Decimal(value), "EUR") == text


@pytest.mark.parametrize(
    ("now", "before", "text"), [(140, 100, "+40%"), (50, 100, "−50%"), (100, 100, "±0%"), (5_000, 1, "+499,900%")]
)
def test_changes(now: int, before: int, text: str) -> None:
    assert wording.change(now, before) == text


@pytest.mark.parametrize(("share", "text"), [(0, "0%"), (0.0001, "< 1%"), (0.5, "50%"), (1, "100%")])
def test_shares(share: float, text: str) -> None:
    assert wording.per_cent(share) == text


def lot(free: int, days: float | None) -> LotRow:
    expires_at = None if days is None else NOW + timedelta(days=days)
    return LotRow(
        pk=1, url="", key="A", css="", source="", note="", left=free, free=free, share="", expires_at=expires_at,
        expires="", wait="", is_soon=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "pace", "days", "lost"),
    [
        ([lot(100, None)], 10, 10, 0),
        ([lot(50, 10), lot(50, None)], 10, 10, 0),
        ([lot(100, 2), lot(50, None)], 10, 7, 80),
        ([lot(100, 2), lot(100, 1)], 10, 2, 180),
        ([lot(10**18, None)], 0.1, None, 0),
        ([lot(10**18, 30)], 0.1, 30, 10**18),
        ([lot(10**18, 3_000)], 0.1, None, 10**18),
    ],
)
def test_the_outlook_spends_in_burn_order(rows: list[LotRow], pace: float, days: float | None, lost: int) -> None:
    left = sum(row.left for row in rows)
    found = lots.outlook(Lots(rows, len(rows), left, 0), pace, NOW)
    assert found.lost == pytest.approx(lost, rel=1e-6)
    assert found.ends_at == (None if days is None else NOW + timedelta(days=days))


def test_a_features_colour_does_not_depend_on_its_rank() -> None:
    names = ["chat", "search", "summaries"]
    assert spending.slots_of(names) == spending.slots_of(names[::-1])
    five = spending.slots_of([*names, "code", "images"])
    assert sorted(five.values()) == [1, 2, 3, 4, 6]
