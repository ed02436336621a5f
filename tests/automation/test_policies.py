"""A policy that contradicts itself is refused where it does; the preview says what the others come to."""

from __future__ import annotations

from typing import Any

import pytest

from django_token_pricing.automation import renewals
from django_token_pricing.models import RenewalPolicy
from tests.automation.subscribers import LONG_AGO, at


def policy(**facts: Any) -> RenewalPolicy:
    return RenewalPolicy(**{"code": "pro", "tokens": 1_000, "starts_at": LONG_AGO, **facts})


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"count": 0}, "count"),
        ({"unit": "day", "anchor": "calendar"}, "anchor"),
        ({"count": 5, "anchor": "calendar"}, "count"),
        ({"lasts": "days"}, "lasts_days"),
        ({"lasts_days": 5}, "lasts_days"),
        ({"rollover": "percent"}, "rollover_percent"),
        ({"rollover": "all", "rollover_percent": 5}, "rollover_percent"),
        ({"rollover": "all", "rollover_cap": 1_001}, "rollover_cap"),
        ({"rollover_cap": 10}, "rollover_cap"),
        ({"rollover_days": 10}, "rollover_days"),
        ({"rollover_periods": 10}, "rollover_periods"),
        ({"rollover": "all", "lasts": "always"}, "rollover"),
    ],
)
def test_what_contradicts_itself_is_named_by_its_field(facts: dict[str, Any], field: str) -> None:
    assert list(renewals.check(policy(**facts))) == [field]


def test_what_makes_sense_is_not_refused() -> None:
    whole = {"rollover": "percent", "rollover_percent": 50, "rollover_cap": 1_000, "rollover_periods": 3}
    assert renewals.check(policy(**whole)) == {}
    assert renewals.check(policy(count=3, anchor="calendar", lasts="days", lasts_days=100)) == {}


def test_the_preview_shows_the_31st_and_what_is_carried_over() -> None:
    found = renewals.preview(
        policy(rollover="all", rollover_cap=600), anchor_at=at(2024, 1, 31), time_zone="UTC", used_percent=50
    )
    assert [f"{one.period.starts_at:%m-%d}" for one in found[:4]] == ["01-31", "02-29", "03-31", "04-30"]
    assert [(one.days, one.granted, one.carried, one.total) for one in found[:3]] == [
        (29, 1_000, 0, 1_000),
        (31, 1_000, 500, 1_500),
        (30, 1_000, 600, 1_600),
    ]
    assert len(found) == 12
