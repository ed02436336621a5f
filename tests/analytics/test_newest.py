"""The live view's figures: exact while there are few uses, and at a constant price however many there are."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_token_pricing import analytics, tokens
from django_token_pricing.analytics import newest
from django_token_pricing.models import RollupState, TokenUsageLog, UsageHour
from tests import world

pytestmark = pytest.mark.django_db


def use(amount: int, *, ago: timedelta = timedelta(0), model: str = "gpt-4o", user: Any = None) -> None:
    at = timezone.now() - ago
    tokens.record_many(
        [tokens.Use(user or world.new_user(), amount, key=uuid4().hex, model=model, feature="chat", used_at=at)]
    )


def rolled(at: datetime, amount: int) -> None:
    start = at.replace(minute=0, second=0, microsecond=0)
    local = start.astimezone(analytics.zone())
    UsageHour.objects.create(
        starts_at=start, day=local.date(), hour=local.hour, model="gpt-4o", feature="chat", tokens=amount, requests=2
    )


def test_few_uses_are_counted_to_the_last_one() -> None:
    user = world.new_user()
    use(10, user=user)
    use(20, ago=timedelta(seconds=30), model="other", user=user)
    use(40, ago=timedelta(minutes=30))
    use(80, ago=timedelta(minutes=61))
    found = analytics.live()
    assert found.minute == analytics.Rate(30, 2)
    assert found.hour == analytics.Rate(70, 3)
    assert found.models == (("gpt-4o", 50, 2), ("other", 20, 1))
    assert [(tokens_, count) for _account, tokens_, count in found.users] == [(40, 1), (30, 2)]
    assert sum(found.minutes) == 70
    assert len(found.minutes) == 60


def test_nothing_is_nothing() -> None:
    found = analytics.live()
    assert found.minute == found.hour == analytics.Rate(0, 0)
    assert found.last_used_at is None
    assert found.users == found.models == found.features == ()


def test_late_usage_is_not_of_now() -> None:
    use(10)
    use(9_999, ago=timedelta(days=3))
    assert analytics.live().hour.tokens == 10


def test_the_minute_is_scaled_where_the_uses_read_do_not_reach_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest, "MOST_READ", 4)
    for _number in range(10):
        use(6)
    found = analytics.live(as_of=timezone.now() + timedelta(seconds=15))
    assert not found.minute.is_exact
    # Four uses in some 15 seconds.
    assert 60 < found.minute.tokens <= 100
    assert found.minute.requests == pytest.approx(16, abs=4)


def test_the_hour_comes_from_the_roll_up_where_there_are_more_uses_than_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(newest, "MOST_READ", 3)
    for _number in range(5):
        use(7)
    now = timezone.now()
    RollupState.objects.create(zone="UTC", folded_at=now + timedelta(hours=1))
    as_of = now.replace(minute=15, second=0, microsecond=0)
    rolled(as_of, 100)
    rolled(as_of - timedelta(hours=1), 400)
    rolled(as_of - timedelta(hours=2), 10_000)
    found = analytics.live(as_of=as_of)
    # All of this hour, and three quarters of the hour before.
    assert found.hour == analytics.Rate(100 + 300, 2 + 2, is_exact=False)
    assert found.models[0][1] == 400


def test_uses_newer_than_the_roll_up_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest, "MOST_READ", 3)
    use(1_000)
    RollupState.objects.create(zone="UTC", folded_at=timezone.now())
    for _number in range(2):
        use(7)
    assert analytics.live().hour.tokens == 14


def test_more_newer_uses_than_are_read_are_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest, "MOST_READ", 3)
    RollupState.objects.create(zone="UTC", folded_at=timezone.now() - timedelta(seconds=60))
    for _number in range(5):
        use(7)
    # Those that were read are of some 20 seconds, and the roll-up is 80 seconds old.
    found = analytics.live(as_of=timezone.now() + timedelta(seconds=20))
    assert found.hour.tokens == pytest.approx(21 * 4, abs=6)


def test_a_poll_costs_the_same_however_much_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest, "MOST_READ", 5)

    def ask() -> int:
        with CaptureQueriesContext(connection) as captured:
            analytics.live()
        assert all("COUNT(*)" not in query["sql"].upper() for query in captured)
        return len(captured)

    for _number in range(6):
        use(1)
    few = ask()
    for _number in range(60):
        use(1)
    assert ask() == few == 4


def test_no_more_rows_are_read_than_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest, "MOST_READ", 5)
    for _number in range(9):
        use(1)
    with CaptureQueriesContext(connection) as captured:
        analytics.live()
    table = TokenUsageLog._meta.db_table
    (read,) = [query["sql"] for query in captured if f"FROM {connection.ops.quote_name(table)}" in query["sql"]]
    assert "LIMIT 5" in read
    assert "ORDER BY" in read
