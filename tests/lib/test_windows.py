"""Windows of limits: on ordinary days, at month ends, and where the clocks change."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from django_token_pricing.lib.windows import BEGINNING, bounds, period_of

BERLIN = ZoneInfo("Europe/Berlin")


def local(zone: ZoneInfo, *parts: int, fold: int = 0) -> datetime:
    return datetime(*parts, tzinfo=zone, fold=fold).astimezone(timezone.utc)  # type: ignore[misc,arg-type]


def berlin(*parts: int, fold: int = 0) -> datetime:
    return local(BERLIN, *parts, fold=fold)


@pytest.mark.parametrize(
    ("given", "period"),
    [
        (("day",), "day"),
        (("day", "calendar", "Europe/Berlin"), "day@Europe/Berlin"),
        (("day", "rolling"), "day~"),
        (("total",), "total"),
        (("request",), ""),
        (("concurrent",), ""),
    ],
)
def test_a_period_is_written_with_its_alignment_and_zone(given: tuple[str, ...], period: str) -> None:
    assert period_of(*given) == period


@pytest.mark.parametrize(
    ("period", "starts", "ends"),
    [
        ("minute", berlin(2027, 1, 31, 14, 5), berlin(2027, 1, 31, 14, 6)),
        ("hour", berlin(2027, 1, 31, 14), berlin(2027, 1, 31, 15)),
        ("day", berlin(2027, 1, 31), berlin(2027, 2, 1)),
        ("week", berlin(2027, 1, 25), berlin(2027, 2, 1)),
        ("month", berlin(2027, 1, 1), berlin(2027, 2, 1)),
        ("day@America/New_York", berlin(2027, 1, 31, 6), berlin(2027, 2, 1, 6)),
        ("hour@Asia/Kolkata", berlin(2027, 1, 31, 13, 30), berlin(2027, 1, 31, 14, 30)),
    ],
)
def test_a_calendar_window_begins_and_ends_in_its_zone(period: str, starts: datetime, ends: datetime) -> None:
    assert bounds(period, berlin(2027, 1, 31, 14, 5, 30), BERLIN) == (starts, ends)


@pytest.mark.parametrize("days", [7, 30])
def test_a_rolling_window_ends_with_the_moment(days: int) -> None:
    moment = berlin(2027, 3, 30, 12)
    period = {7: "week~", 30: "month~"}[days]
    assert bounds(period, moment, BERLIN) == (moment - timedelta(days=days), None)


def test_total_is_all_time() -> None:
    assert bounds("total", berlin(2027, 1, 1), BERLIN) == (BEGINNING, None)


def test_days_on_which_clocks_change_have_23_and_25_hours() -> None:
    short = bounds("day", berlin(2027, 3, 28, 12), BERLIN)
    long = bounds("day", berlin(2027, 10, 31, 12), BERLIN)
    assert short[1] - short[0] == timedelta(hours=23)  # type: ignore[operator]
    assert long[1] - long[0] == timedelta(hours=25)  # type: ignore[operator]


def test_the_hour_that_comes_twice_is_two_windows() -> None:
    first, second = berlin(2027, 10, 31, 2, 30), berlin(2027, 10, 31, 2, 30, fold=1)
    assert second - first == timedelta(hours=1)
    assert bounds("hour", first, BERLIN)[1] == bounds("hour", second, BERLIN)[0]


def test_february_ends_on_its_last_day() -> None:
    assert bounds("month", berlin(2028, 2, 29, 23, 59), BERLIN) == (berlin(2028, 2, 1), berlin(2028, 3, 1))


@pytest.mark.parametrize(
    ("zone", "moment"),
    [
        # Clocks that change at or over midnight, by half an hour, by a whole day.
        ("America/Havana", datetime(2026, 11, 1, tzinfo=timezone.utc)),
        ("America/Havana", datetime(2026, 3, 8, tzinfo=timezone.utc)),
        ("Asia/Beirut", datetime(2026, 10, 24, 12, tzinfo=timezone.utc)),
        ("Asia/Beirut", datetime(2026, 3, 28, 12, tzinfo=timezone.utc)),
        ("America/St_Johns", datetime(2010, 11, 6, 20, tzinfo=timezone.utc)),
        ("Australia/Lord_Howe", datetime(2027, 4, 3, tzinfo=timezone.utc)),
        ("Australia/Lord_Howe", datetime(2027, 10, 2, tzinfo=timezone.utc)),
        ("Pacific/Apia", datetime(2011, 12, 29, tzinfo=timezone.utc)),
    ],
)
@pytest.mark.parametrize("period", ["minute", "hour", "day", "week", "month"])
def test_each_moment_is_in_one_window_and_windows_share_their_ends(zone: str, moment: datetime, period: str) -> None:
    site = ZoneInfo(zone)
    before = bounds(period, moment, site)
    for quarters in range(1, 4 * 60):
        at = moment + timedelta(minutes=15 * quarters)
        window = bounds(period, at, site)
        assert window[0] <= at < window[1]  # type: ignore[operator]
        assert window == before or window[0] >= before[1]  # type: ignore[operator]
        assert bounds(period, window[0], site) == window
        before = window
