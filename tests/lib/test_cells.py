"""Numbers and moments as people write them; what can be read in two ways is refused."""

from __future__ import annotations

import sys
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_token_pricing.lib.cells import UTC, day, decimal, moment, text, whole
from django_token_pricing.lib.rows import SheetError

BERLIN = ZoneInfo("Europe/Berlin")


def code(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(SheetError) as raised:
        call(*arguments, **options)
    assert str(raised.value)
    return raised.value.code


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("1234", "1234"),
        (" 1234 ", "1234"),
        ("+7", "7"),
        ("-7", "-7"),
        ("−7", "-7"),
        ("1,234.56", "1234.56"),
        ("1.234,56", "1234.56"),
        ("1 234", "1234"),
        ("1\N{NO-BREAK SPACE}234,5", "1234.5"),
        ("1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567", "1234567"),
        ("1'234.50", "1234.5"),
        ("1’234", "1234"),
        ("1,234,567", "1234567"),
        ("1.234.567", "1234567"),
        ("12,34,567.8", "1234567.8"),
        ("1,23", "1.23"),
        ("1,2345", "1.2345"),
        ("12345.678", "12345.678"),
        ("0.123", "0.123"),
        ("0,123", "0.123"),
        (".5", "0.5"),
        ("1e-05", "0.00001"),
        ("1,5E+3", "1500"),
        (5, "5"),
        (2.5, "2.5"),
        (0.1, "0.1"),
        (Decimal("1.10"), "1.1"),
    ],
)
def test_a_number_is_read(cell: Any, number: str) -> None:
    assert decimal(cell) == Decimal(number)


@pytest.mark.parametrize("cell", ["1,234", "1.234", "-12,345", "999.999"])
def test_a_number_that_may_be_two_is_refused_and_a_known_mark_settles_it(cell: str) -> None:
    assert code(decimal, cell) == code(whole, cell) == "ambiguous_number"
    assert {decimal(cell, mark="."), decimal(cell, mark=",")} == {
        Decimal(cell.replace(",", ".")),
        Decimal(cell.replace(",", "").replace(".", "")),
    }


@pytest.mark.parametrize(
    "cell",
    ["", " ", "-", "--5", "abc", "1.2.3", "1,2,3", "12 34", "1,234.567,8", "٣", "²", "$5", "1e", "NaN", True, None],
)
def test_what_is_no_number_is_refused(cell: Any) -> None:
    assert code(decimal, cell) == code(whole, cell) == "not_a_number"


@pytest.mark.parametrize("cell", [float("nan"), float("inf"), "1" * 100, time(1), datetime(2026, 1, 1)])  # noqa: DTZ001
def test_neither_is_what_is_beyond_all_numbers(cell: Any) -> None:
    assert code(decimal, cell) == "not_a_number"


@pytest.mark.parametrize("mark", [".", ","])
def test_a_number_against_the_known_mark_is_refused(mark: str) -> None:
    assert code(decimal, {".": "1.234,5", ",": "1,234.5"}[mark], mark=mark) == "not_a_number"


@pytest.mark.parametrize(("cell", "number"), [("5.", 5), ("12.00", 12), ("1,234.0", 1234), (12.0, 12), ("007", 7)])
def test_a_whole_number_may_have_an_empty_fraction(cell: Any, number: int) -> None:
    found = whole(cell)
    assert (found, type(found)) == (number, int)


@pytest.mark.parametrize("cell", ["12.5", 12.5, "0,123"])
def test_a_fraction_is_no_whole_number(cell: Any) -> None:
    assert code(whole, cell) == "not_whole"


def test_a_number_that_a_spreadsheet_shortened_is_no_whole_number() -> None:
    assert code(whole, "1.23457E+11") == "shortened_number"


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=10**6, max_value=10**12))
def test_numbers_with_all_their_separators_are_read_back(number: Decimal) -> None:
    english = f"{number:,.4f}"
    assert decimal(english) == number
    assert decimal(english.translate(str.maketrans(",.", ".,"))) == number
    assert decimal(english.replace(",", " ")) == number


@pytest.mark.parametrize(
    ("cell", "shown"),
    [(None, ""), (" a ", "a"), (42, "42"), (42.0, "42"), (0.5, "0.5"), (True, "TRUE"), (False, "FALSE")],
)
def test_text_is_what_people_see(cell: Any, shown: str) -> None:
    assert text(cell) == shown


@pytest.mark.parametrize(
    ("cell", "iso"),
    [
        ("2023-11-16 18:17:03.9799600", "2023-11-16T18:17:03.979960"),
        ("2023-11-16 18:17:03.9799609", "2023-11-16T18:17:03.979960"),
        ("2023-11-16T18:17:03.979960999Z", "2023-11-16T18:17:03.979960"),
        ("2023-11-16T18:17:03Z", "2023-11-16T18:17:03"),
        ("2023-11-16 18:17:03 UTC", "2023-11-16T18:17:03"),
        ("2023-11-16T18:17:03+05:30", "2023-11-16T12:47:03"),
        ("2023-11-16T18:17:03.5-0800", "2023-11-17T02:17:03.500000"),
        ("2023-11-16T18:17:03.1234567+01", "2023-11-16T17:17:03.123456"),
        ("2023-11-16 18:17:03,25", "2023-11-16T18:17:03.250000"),
        ("2023-11-16 18:17", "2023-11-16T18:17:00"),
        (" 2023/1/6  8:17:03 ", "2023-01-06T08:17:03"),
        ("2023-11-16", "2023-11-16T00:00:00"),
        (45246.5, "2023-11-16T12:00:00"),
        ("45246,5", "2023-11-16T12:00:00"),
        ("45246", "2023-11-16T00:00:00"),
        (1700158623, "2023-11-16T18:17:03"),
        ("1700158623.9799609", "2023-11-16T18:17:03.979960"),
        (1700158623979, "2023-11-16T18:17:03.979000"),
        ("1700158623979960", "2023-11-16T18:17:03.979960"),
        ("1700158623979960999", "2023-11-16T18:17:03.979960"),
        (datetime(2023, 11, 16, 18), "2023-11-16T18:00:00"),  # noqa: DTZ001
        (date(2023, 11, 16), "2023-11-16T00:00:00"),
        ("0001-01-01 00:00:00", "0001-01-01T00:00:00"),
    ],
)
def test_a_moment_is_read(cell: Any, iso: str) -> None:
    found = moment(cell, zone=UTC)
    assert found == datetime.fromisoformat(iso).replace(tzinfo=timezone.utc)
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    ("cell", "iso"),
    [
        ("2023-07-16 18:00:00", "2023-07-16T16:00:00"),
        ("2023-12-16 18:00:00", "2023-12-16T17:00:00"),
        ("2023-07-16", "2023-07-15T22:00:00"),
        (45246.5, "2023-11-16T11:00:00"),
        (1700158623, "2023-11-16T18:17:03"),
        ("2023-07-16T18:00:00Z", "2023-07-16T18:00:00"),
        ("2024-10-27 02:30:00+02:00", "2024-10-27T00:30:00"),
        ("2024-10-27 02:30:00+01:00", "2024-10-27T01:30:00"),
        ("2024-10-27 01:59:59.999999", "2024-10-26T23:59:59.999999"),
        ("2024-10-27 03:00:00", "2024-10-27T02:00:00"),
    ],
)
def test_a_time_without_an_offset_is_in_the_zone(cell: Any, iso: str) -> None:
    assert moment(cell, zone=BERLIN) == datetime.fromisoformat(iso).replace(tzinfo=timezone.utc)


@pytest.mark.parametrize("cell", ["2024-03-31 02:00:00", "2024-03-31 02:59:59.9", datetime(2024, 3, 31, 2, 30)])  # noqa: DTZ001
def test_a_time_that_the_clocks_skipped_is_refused(cell: Any) -> None:
    assert code(moment, cell, zone=BERLIN) == "skipped_time"


@pytest.mark.parametrize("cell", ["2024-10-27 02:00:00", "2024-10-27T02:59:59", datetime(2024, 10, 27, 2, 30)])  # noqa: DTZ001
def test_a_time_that_the_clocks_showed_twice_is_refused(cell: Any) -> None:
    assert code(moment, cell, zone=BERLIN) == "repeated_time"


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "yesterday",
        "16.11.2023",
        "11/16/2023",
        "2023-13-01",
        "2023-02-30 10:00:00",
        "2023-11-16 25:00:00",
        "2023-11-16 18:17:03+99:00",
        "2023-11-16 18:17:03.",
        "2023-11/16",
        "20231116",
        "20231116181703",
        "5",
        "-1700158623",
        "1" * 70,
        float("nan"),
        True,
        None,
        time(18),
    ],
)
def test_what_is_no_moment_is_refused(cell: Any) -> None:
    assert code(moment, cell, zone=UTC) == "not_a_moment"


def test_a_moment_before_all_calendars_is_refused() -> None:
    assert code(moment, "0001-01-01 00:00:00", zone=BERLIN) == "not_a_moment"


@given(st.datetimes(timezones=st.just(timezone.utc)), st.sampled_from(" T"), st.sampled_from(["", "Z", "+00:00"]))
def test_iso_moments_are_read_back(at: datetime, between: str, offset: str) -> None:
    assert moment(at.replace(tzinfo=None).isoformat(between) + offset, zone=UTC) == at


def test_the_short_way_and_the_long_one_agree() -> None:
    # Python 3.10's fromisoformat takes less than later ones; what it refuses goes the long way.
    for fraction in ("", ".9", ".97", ".979", ".9799", ".97996", ".979960", ".9799600", ".979960099"):
        short = moment(f"2023-11-16 18:17:03{fraction}", zone=UTC)
        assert short == moment(f" 2023-11-16 18:17:03{fraction}", zone=UTC), (sys.version, fraction)


# Days -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    [
        "2026-12-31",
        " 2026-12-31 ",
        "2026/12/31",
        "2026.12.31",
        "2026. 12. 31.",
        "20261231",
        20261231,
        "31.12.2026",
        "31. 12. 2026",
        "31/12/2026",
        "12/31/2026",
        "31-12-2026",
        "12-31-2026",
        "31 12 2026",
        "31 Dec 2026",
        "31-dec-2026",
        "31st December, 2026",
        "31DEC2026",
        "Dec 31, 2026",
        "December 31st 2026",
        "46387",
        46387,
        46387.0,
        date(2026, 12, 31),
        datetime(2026, 12, 31),  # noqa: DTZ001
    ],
)
def test_a_day_is_read(cell: Any) -> None:
    found = day(cell, zone=BERLIN)
    assert (found, type(found)) == (date(2026, 12, 31), date)


@pytest.mark.parametrize("cell", ["05/06/2026", "5.6.2026", "05-06-2026", "12/11/2026"])
def test_a_day_that_may_be_two_is_refused_and_a_known_order_settles_it(cell: str) -> None:
    assert code(day, cell, zone=BERLIN) == "ambiguous_date"
    first, second = (int(part) for part in cell.replace(".", "/").replace("-", "/").split("/")[:2])
    assert day(cell, zone=BERLIN, order="dmy") == date(2026, second, first)
    assert day(cell, zone=BERLIN, order="mdy") == date(2026, first, second)


def test_a_day_whose_number_is_the_months_is_one() -> None:
    assert day("5/5/2026", zone=BERLIN) == date(2026, 5, 5)


@pytest.mark.parametrize(("cell", "order"), [("12/31/2026", "dmy"), ("31.12.2026", "mdy")])
def test_a_day_against_the_known_order_is_refused(cell: str, order: str) -> None:
    assert code(day, cell, zone=BERLIN, order=order) == "not_a_date"


@pytest.mark.parametrize("cell", ["2026-05-06", "6 May 2026", "20260506"])
def test_an_order_says_nothing_of_days_that_need_none(cell: str) -> None:
    assert day(cell, zone=BERLIN, order="dmy") == day(cell, zone=BERLIN, order="mdy") == date(2026, 5, 6)


@pytest.mark.parametrize("cell", ["31.12.26", "12/31/26", "31-Dec-26", "Dec 31, 26", "05/06/26"])
def test_a_year_of_two_digits_is_refused(cell: str) -> None:
    assert code(day, cell, zone=BERLIN) == "short_year"


@pytest.mark.parametrize(
    ("cell", "iso"),
    [
        ("2026-12-31T18:30:00Z", "2026-12-31T18:30:00"),
        ("2026-12-31T18:30:00.000001+05:30", "2026-12-31T13:00:00.000001"),
        ("2026-12-31 00:00:00", "2026-12-30T23:00:00"),
        ("31.12.2026 18:30", "2026-12-31T17:30:00"),
        ("12/31/2026 6:30 PM", "2026-12-31T17:30:00"),
        ("12/31/2026, 12:05:10 am", "2026-12-30T23:05:10"),
        ("31 Dec 2026 18:30:15,5", "2026-12-31T17:30:15.500000"),
        ("46387.75", "2026-12-31T17:00:00"),
        ("46387,75", "2026-12-31T17:00:00"),
        (46387.75, "2026-12-31T17:00:00"),
        (datetime(2026, 12, 31, 18, 30), "2026-12-31T17:30:00"),  # noqa: DTZ001
        (datetime(2026, 12, 31, tzinfo=timezone.utc), "2026-12-31T00:00:00"),
        ("1798738200", "2026-12-31T17:30:00"),
        (1798738200, "2026-12-31T17:30:00"),
    ],
)
def test_a_day_with_a_time_is_a_moment(cell: Any, iso: str) -> None:
    found = day(cell, zone=BERLIN)
    assert isinstance(found, datetime)
    assert found == datetime.fromisoformat(iso).replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "never",
        "2026-13-01",
        "2026-02-30",
        "31/31/2026",
        "31/13/2026",
        "30 Feb 2026",
        "31 Dez 2026",
        "31 Foo 2026",
        "31.12/2026",
        "31.12",
        "Dec 2026",
        "31122026",
        "5",
        "-46387",
        "12/31/2026 13:05 PM",
        "12/31/2026 0:05 AM",
        "٣١.١٢.٢٠٢٦",
        "1" * 70,
        "2026-12-31" + " " * 70 + "x",
        float("nan"),
        True,
        None,
        time(18),
    ],
)
def test_what_is_no_day_is_refused(cell: Any) -> None:
    assert code(day, cell, zone=BERLIN) == "not_a_date"


@pytest.mark.parametrize("cell", ["31.12.2026 25:00", "31.12.2026 18:30 Berlin"])
def test_a_day_with_a_time_that_is_none_is_refused(cell: str) -> None:
    assert code(day, cell, zone=BERLIN) == "not_a_moment"


@given(st.dates(min_value=date(1000, 1, 1)), st.sampled_from(["%Y-%m-%d", "%Y/%m/%d", "%d %B %Y", "%b %d, %Y"]))
def test_days_as_python_writes_them_are_read_back(on: date, form: str) -> None:
    assert day(on.strftime(form), zone=UTC) == on


@given(st.dates(min_value=date(1000, 1, 1)), st.sampled_from("-/."))
def test_with_an_order_every_day_is_read_back(on: date, mark: str) -> None:
    assert day(on.strftime(f"%d{mark}%m{mark}%Y"), zone=UTC, order="dmy") == on
    assert day(on.strftime(f"%m{mark}%d{mark}%Y"), zone=UTC, order="mdy") == on
