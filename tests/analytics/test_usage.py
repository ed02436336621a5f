"""What dashboards read of the roll-ups: usage over time, peaks, movements, and the accounts that used most."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from random import Random
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone as clock

from django_token_pricing import analytics, tokens
from django_token_pricing.analytics import freshness, top
from django_token_pricing.models import (
    AccountMonth,
    ChartSlot,
    FlowDay,
    RollupState,
    SummaryRefresh,
    UsageDay,
    UsageHour,
)
from tests import world
from tests.analytics.rows import account, used

pytestmark = pytest.mark.django_db

FIRST = date(2026, 11, 2)  # a Monday
PERIOD = analytics.Period(FIRST, FIRST + timedelta(days=7))


def hour(at: datetime, amount: int, **given: Any) -> UsageHour:
    local = at.astimezone(analytics.zone())
    fields = {"model": "gpt-4o", "feature": "chat", "requests": 1, **given}
    return UsageHour.objects.create(starts_at=at, day=local.date(), hour=local.hour, tokens=amount, **fields)


def flow(day: date, kind: str, amount: int) -> FlowDay:
    return FlowDay.objects.create(day=day, kind=kind, source="manual", tokens=amount)


# Over time


def test_usage_is_summed_by_the_day_with_the_days_before() -> None:
    used(FIRST)
    used(FIRST + timedelta(days=2), model="other", tokens=7)
    used(FIRST - timedelta(days=1), tokens=40)
    used(FIRST + timedelta(days=7), tokens=1_000)  # after it
    course = analytics.series(PERIOD, "model")
    assert [group.name for group in course.groups] == ["gpt-4o", "other"]
    assert [point.tokens if point else None for point in course.points] == [100, 0, 7, 0, 0, 0, 0]
    assert course.whole.tokens == 107
    assert course.before.tokens == 40
    assert analytics.totals(PERIOD) == course.whole


def test_more_than_five_are_one_more() -> None:
    for number in range(9):
        used(FIRST, model=f"m{number}", tokens=100 - number)
    course = analytics.series(PERIOD, "model")
    assert [group.name for group in course.groups] == ["m0", "m1", "m2", "m3", "m4", None]
    assert course.groups[-1].whole.tokens == 95 + 94 + 93 + 92
    assert len(course.ranking) == 9


def test_usage_without_a_name_is_not_among_the_others() -> None:
    used(FIRST, model="")
    assert [group.name for group in analytics.series(PERIOD, "model").groups] == [""]


def test_a_slice_is_of_tiers_models_and_features() -> None:
    used(FIRST, tier="a", model="m", feature="f")
    used(FIRST, tier="b", model="m", feature="g")
    used(FIRST, tier="b", model="n", feature="f")
    only = analytics.Slice(tiers=("b",), models=("m", "n"), features=("f",))
    assert analytics.series(PERIOD, "model", only).whole.requests == 1
    assert analytics.totals(PERIOD, only).requests == 1


@pytest.mark.parametrize("unit", ["day", "week", "month"])
def test_every_unit_sums_up_to_the_same(unit: str) -> None:
    period = analytics.Period(date(2026, 1, 15), date(2026, 6, 20))
    random = Random(7)
    for day in period:
        used(day, tokens=random.randrange(1_000), model=random.choice("ab"))
    course = analytics.series(period, "model", unit=unit)
    assert course.unit == unit
    assert course.whole == analytics.totals(period)
    assert sum(point.tokens for point in course.points if point) == course.whole.tokens
    assert course.starts[0] == period.first


def test_weeks_begin_on_mondays_and_months_on_their_first() -> None:
    period = analytics.Period(date(2026, 10, 29), date(2026, 12, 2))
    used(date(2026, 11, 1), tokens=1)
    used(date(2026, 11, 2), tokens=2)
    used(date(2026, 12, 1), tokens=4)
    weeks = analytics.series(period, "model", unit="week")
    assert list(weeks.starts) == [date(2026, 10, 29), *(date(2026, 11, day) for day in (2, 9, 16, 23, 30))]
    assert [point.tokens for point in weeks.points if point] == [1, 2, 0, 0, 0, 4]
    months = analytics.series(period, "model", unit="month")
    assert [point.tokens for point in months.points if point] == [0, 3, 4]


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)])
def test_a_day_has_as_many_hours_as_its_zone_gives_it(day: date, hours: int) -> None:
    period = analytics.Period(day, day + timedelta(days=1))
    last = period.ends_at.astimezone(timezone.utc) - timedelta(hours=1)
    hour(last, 5)
    course = analytics.series(period, "model", unit="hour")
    assert [point.tokens if point else 0 for point in course.points] == [0] * (hours - 1) + [5]


def test_before_the_first_day_and_after_the_last_fold_nothing_is_known() -> None:
    used(FIRST + timedelta(days=3))
    course = analytics.series(PERIOD, "model", known=(FIRST + timedelta(days=3), None))
    assert [point is None for point in course.points] == [True] * 3 + [False] * 4
    one = analytics.Period(FIRST, FIRST + timedelta(days=1))
    hour(one.starts_at, 3)
    reached = one.starts_at + timedelta(hours=2)
    course = analytics.series(one, "model", unit="hour", known=(FIRST, reached))
    assert [point is None for point in course.points] == [False] * 3 + [True] * 21


@pytest.mark.parametrize(
    ("days", "wanted", "unit"),
    [
        (1, "", "hour"),
        (30, "", "day"),
        (180, "", "week"),
        (1_830, "", "month"),
        (30, "hour", "day"),
        (7, "hour", "hour"),
        (3, "month", "day"),
        (1_200, "week", "week"),
        (1_830, "week", "month"),
        (365, "day", "week"),
        (1_830, "day", "month"),
    ],
)
def test_a_unit_that_no_chart_could_show_gives_way(days: int, wanted: str, unit: str) -> None:
    assert analytics.unit_of(analytics.Period.of_days(days, last=FIRST), wanted) == unit


def test_there_is_nothing_by_what_is_no_dimension() -> None:
    with pytest.raises(ValueError, match="password"):
        analytics.series(PERIOD, "password")


def test_usage_over_time_takes_two_queries_however_much_there_is() -> None:
    for number in range(40):
        used(FIRST, model=f"m{number}")
    with CaptureQueriesContext(connection) as captured:
        analytics.series(PERIOD, "model")
    assert len(captured) == 2


def test_peaks_are_by_weekday_and_hour_of_the_reporting_zone() -> None:
    at = PERIOD.starts_at + timedelta(days=2, hours=10)
    hour(at, 70)
    hour(at + timedelta(days=7), 1_000)  # after it
    grid = analytics.heat(PERIOD)
    assert grid[2][10] == 70
    assert sum(map(sum, grid)) == 70


# Colours


def test_colours_stay_and_who_has_none_takes_a_free_one() -> None:
    for name, slot in {"a": 1, "b": 2, "c": 0, "d": 0}.items():
        ChartSlot.objects.create(dimension="model", name=name, slot=slot)
    found = analytics.names()
    assert found.colours("model", ["b", "c", "a"]) == {"a": 1, "b": 2, "c": 3}
    assert found.colours("model", ["new", "d"]) == {"new": 1, "d": 2}
    assert found.of("feature") == []


# The ledger


def test_balances_are_what_was_moved_up_to_the_end_of_each_day() -> None:
    flow(date(2020, 1, 1), "grant", 1_000)
    flow(FIRST - timedelta(days=1), "consume", -100)
    flow(FIRST, "grant", 50)
    flow(FIRST + timedelta(days=2), "consume", -30)
    flow(FIRST + timedelta(days=2), "refund", 10)
    flow(FIRST + timedelta(days=3), "expire", -5)
    flow(FIRST + timedelta(days=7), "grant", 10_000)  # after it
    with CaptureQueriesContext(connection) as captured:
        flows = analytics.flows(PERIOD)
    assert len(captured) == 1
    assert flows.opening == 900
    assert flows.balances == [950, 950, 930, 925, 925, 925, 925]
    assert (flows.now.allocated, flows.now.consumed, flows.now.expired) == (50, 20, 5)
    assert (flows.before.allocated, flows.before.consumed) == (0, 100)


@pytest.mark.parametrize("unit", ["week", "month"])
def test_balances_end_alike_by_the_week_and_month(unit: str) -> None:
    period = analytics.Period(date(2026, 1, 15), date(2026, 6, 20))
    for day in analytics.Period(date(2026, 1, 1), date(2026, 6, 20)):
        flow(day, "grant", day.day)
    daily = analytics.flows(period, unit="day")
    other = analytics.flows(period, unit=unit)
    assert other.balances[-1] == daily.balances[-1]
    assert other.now == daily.now


# What accounts have now


def test_before_the_first_fold_nothing_is_known() -> None:
    assert analytics.standing() == analytics.Standing()
    assert analytics.standing().available() is None


def test_totals_are_those_of_the_newest_finished_refresh() -> None:
    now = clock.now()
    RollupState.objects.create(zone="UTC", folded_at=now)
    used(FIRST)
    tiers = {"a": {"accounts": 2, "available": 10}, "b": {"accounts": 1, "available": 5}}
    totals = {"tiers": tiers, "expiring_accounts": 1, "expiring_tokens": 7}
    for ago, found in ((3, {}), (2, totals)):
        at = now - timedelta(hours=ago)
        SummaryRefresh.objects.create(started_at=at, seen_at=at, finished_at=at, totals=found)
    SummaryRefresh.objects.create(started_at=now, seen_at=now, totals={"tiers": {}})
    with CaptureQueriesContext(connection) as captured:
        standing = analytics.standing()
    assert len(captured) == 1
    assert standing.known == (FIRST, now)
    assert (standing.available(), standing.available(("b",))) == (15, 5)
    assert standing.accounts() == 3
    assert standing.expiring == (1, 7)


def test_open_holds_are_summed_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    user = world.new_user()
    tokens.grant(user, 1_000, source="manual")
    for number in range(3):
        tokens.hold(user, 10, key=f"hold {number}")
    assert analytics.held() == analytics.Held(3, 30)
    monkeypatch.setattr(freshness, "MOST_HOLDS", 2)
    assert analytics.held() == analytics.Held(2, 20, is_cut=True)
    assert analytics.held(as_of=clock.now() + timedelta(days=1)) == analytics.Held(0, 0)


# Accounts


@pytest.fixture
def spread() -> list[int]:
    """Usage of accounts over three months, by account."""
    random = Random(3)
    sums = []
    for _number in range(60):
        one, whole = account(tier="team"), 0
        for month in (9, 10, 11):
            amount = int(random.paretovariate(1.1) * 100)
            whole += amount
            AccountMonth.objects.create(account=one, month=date(2026, month, 1), tokens=amount, requests=1, cost=amount)
        sums.append(whole)
    return sums


@pytest.mark.parametrize("width", [2, 7, 30, 1_000])
@pytest.mark.parametrize("by", ["tokens", "cost"])
def test_the_largest_are_found_whatever_is_read_of_each_month(
    width: int, by: str, spread: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top, "WIDTHS", (width, 1_000))
    found = analytics.top_accounts([date(2026, month, 1) for month in (9, 10, 11)], 8, by=by)
    assert [row.tokens for row in found.rows] == sorted(spread, reverse=True)[:8]
    assert found.is_proven


def test_what_cannot_be_proven_is_said(spread: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top, "WIDTHS", (1,))
    AccountMonth.objects.update(tokens=5)
    assert not analytics.top_accounts([date(2026, 10, 1), date(2026, 11, 1)], 8).is_proven


def test_accounts_are_compared_with_as_many_months_before() -> None:
    one = account()
    for month, amount in ((10, 100), (11, 30), (8, 7), (9, 5), (7, 1_000)):
        AccountMonth.objects.create(account=one, month=date(2026, month, 1), tokens=amount, requests=1)
    (row,) = analytics.top_accounts([date(2026, 10, 1), date(2026, 11, 1)]).rows
    assert (row.tokens, row.before) == (130, 12)


def test_top_accounts_take_two_queries_and_none_without_months(spread: list[int]) -> None:
    with CaptureQueriesContext(connection) as captured:
        analytics.top_accounts([date(2026, 11, 1)])
    assert len(captured) == 2
    assert analytics.top_accounts([]).rows == ()


def test_of_many_months_the_last_twelve_count() -> None:
    months = analytics.Period(date(2022, 1, 1), date(2026, 11, 24)).months()
    assert analytics.top_accounts(months).months[0] == date(2025, 12, 1)


def test_roll_ups_are_enough(spread: list[int]) -> None:
    """No row of usage was there, and yet all of this was answered."""
    assert not UsageDay.objects.exists()
