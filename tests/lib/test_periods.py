"""Periods are true to the calendar of those who live by it: no gap, no overlap, and the 31st comes back."""

from __future__ import annotations

from calendar import monthrange
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_token_pricing.lib.periods import Calendar, moment_of, share, zone_of

UTC = timezone.utc
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "America/St_Johns",
]
anchors = st.integers(788_918_400, 2_051_222_400).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
calendars = st.builds(
    Calendar,
    anchor=anchors,
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    unit=st.sampled_from(["day", "month", "year"]),
    count=st.integers(1, 24),
) | st.builds(
    Calendar,
    anchor=anchors,
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    unit=st.sampled_from(["month", "year"]),
    count=st.sampled_from([1, 2, 3, 4, 6, 12]),
    is_aligned=st.just(True),
)


def local(calendar: Calendar, number: int) -> datetime:
    return calendar.starts(number).astimezone(calendar.zone).replace(tzinfo=None)


@given(calendars, st.integers(-30, 300))
def test_each_period_ends_where_the_next_one_starts_and_later_than_it_starts(calendar: Calendar, number: int) -> None:
    one, next_one = calendar.period(number), calendar.period(number + 1)
    assert one.starts_at < one.ends_at == next_one.starts_at < next_one.ends_at


@given(calendars, st.integers(0, 40 * 365 * 24 * 60))
def test_each_moment_from_the_anchor_on_is_in_exactly_one_period(calendar: Calendar, minutes: int) -> None:
    moment = calendar.anchor + timedelta(minutes=minutes)
    period = calendar.holding(moment)
    assert period.starts_at <= moment < period.ends_at
    assert period.number >= 0
    assert not any(
        other.starts_at <= moment < other.ends_at
        for other in (calendar.period(period.number - 1), calendar.period(period.number + 1))
    )


@given(calendars, st.integers(1, 200))
def test_the_day_is_the_anchors_or_the_last_of_a_shorter_month(calendar: Calendar, number: int) -> None:
    wall, first = local(calendar, number), local(calendar, 0)
    if calendar.is_aligned:
        assert (wall.day, wall.hour) in [(1, 0), (1, 1)]
    elif calendar.unit != "day":
        assert wall.day == min(first.day, monthrange(wall.year, wall.month)[1])
        months = calendar.count * number * (12 if calendar.unit == "year" else 1)
        assert (wall.year - first.year) * 12 + wall.month - first.month == months
    else:
        assert (wall.date() - first.date()).days == calendar.count * number


def days(unit: str, anchor: datetime, upto: int, zone: str = "UTC", **more: object) -> list[str]:
    calendar = Calendar(anchor, ZoneInfo(zone), unit, 1, **more)  # type: ignore[arg-type]
    return [f"{local(calendar, number):%Y-%m-%d %H:%M}" for number in range(upto)]


def test_the_31st_comes_back_after_shorter_months() -> None:
    found = days("month", datetime(2023, 12, 31, 10, tzinfo=UTC), 6)
    expected = ["2023-12-31", "2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31"]
    assert found == [f"{day} 10:00" for day in expected]


def test_the_29th_of_february_comes_back_in_the_next_leap_year() -> None:
    found = days("year", datetime(2024, 2, 29, tzinfo=UTC), 5)
    assert [day[:10] for day in found] == ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]


def test_ten_oclock_stays_ten_oclock_over_daylight_saving() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    calendar = Calendar(datetime(2026, 3, 28, 10, tzinfo=berlin), berlin, "day", 1)
    starts = [calendar.starts(number) for number in range(3)]
    assert [moment.hour for moment in starts] == [9, 8, 8]
    assert [end - start for start, end in pairwise(starts)] == [timedelta(hours=23), timedelta(hours=24)]


def test_a_time_that_clocks_jump_over_is_the_moment_after_the_jump() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert moment_of(datetime.fromisoformat("2026-03-29T02:30"), berlin) == datetime(2026, 3, 29, 1, tzinfo=UTC)


def test_a_time_that_clocks_show_twice_is_the_first() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert moment_of(datetime.fromisoformat("2026-10-25T02:30"), berlin) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def test_a_day_that_a_zone_left_out_has_no_period_of_its_own() -> None:
    apia = ZoneInfo("Pacific/Apia")
    calendar = Calendar(datetime(2011, 12, 28, tzinfo=apia), apia, "day", 1)
    found = list(calendar.between(-1, 4))
    assert [period.number for period in found] == [0, 1, 3, 4]
    assert all(one.ends_at == two.starts_at for one, two in pairwise(found))


def test_periods_by_the_calendar_start_on_the_first_and_the_first_one_with_the_subscription() -> None:
    found = days("month", datetime(2026, 1, 17, 15, tzinfo=UTC), 3, is_aligned=True)
    assert found == ["2026-01-17 15:00", "2026-02-01 00:00", "2026-03-01 00:00"]


def test_quarters_by_the_calendar_are_counted_from_january() -> None:
    calendar = Calendar(datetime(2026, 5, 17, tzinfo=UTC), ZoneInfo("UTC"), "month", 3, is_aligned=True)
    assert [f"{calendar.starts(number):%m-%d}" for number in range(4)] == ["05-17", "07-01", "10-01", "01-01"]


@pytest.mark.parametrize("name", ["", "Nowhere/Atlantis", "../../etc/passwd", "America", "\0"])
def test_a_zone_that_does_not_exist_is_the_default(name: str) -> None:
    assert zone_of(name, UTC) is UTC


@given(st.integers(0, 2**63 - 1), st.integers(0, 1000), st.integers(1, 1000))
def test_a_share_is_rounded_half_up_and_never_above_the_whole(amount: int, part: int, more: int) -> None:
    whole = part + more
    found = share(amount, timedelta(seconds=part), timedelta(seconds=whole))
    assert found == (2 * amount * part + whole) // (2 * whole)
    assert 0 <= found <= amount
