"""What people write in a cell, as a value: numbers, moments, days. What can be read in two ways is refused.

Each reads a cell of `lib.sheets` (text, or what XLSX stores) and raises SheetError.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, Literal

from django_token_pricing.lib.rows import SheetError, gettext_noop

MOST_DIGITS = 60
UTC = timezone.utc

_SPACES = re.compile("[ '\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}\N{RIGHT SINGLE QUOTATION MARK}]")
_PLAIN = re.compile(r"\d+")
_POWER = re.compile(r"(\d+)(?:[.,](\d+))?[eE]([+-]?\d{1,3})")
_SPACED = re.compile(r"(\d{1,3}(?: \d{3})+)(?:([.,])(\d*))?")
# Thousands, or with commas the lakhs and crores of India.
_COMMAS = re.compile(r"(\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3})(?:\.(\d*))?")
_POINTS = re.compile(r"(\d{1,3}(?:\.\d{3})+)(?:,(\d*))?")
_FRACTION = re.compile(r"(\d*)([.,])(\d*)")

_MOMENT = re.compile(
    r"(\d{4})([-/])(\d{1,2})\2(\d{1,2})"
    r"(?:(?:T|\s+)(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d+))?)?)?"
    r"\s*(Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?",
    re.ASCII | re.IGNORECASE,
)
_WITH_TIME = re.compile(
    r"(.+?)(?:(?:T|,?\s+)(\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d+)?)\s*([AP]M)?\s*(\S*))?", re.ASCII | re.IGNORECASE
)
_YEAR_FIRST = re.compile(r"(\d{4})([-/.])\s?(\d{1,2})\2\s?(\d{1,2})\.?|(\d{4})()(\d{2})(\d{2})", re.ASCII)
_YEAR_LAST = re.compile(r"(\d{1,2})([-/. ])\s?(\d{1,2})\2\s?(\d{2}|\d{4})", re.ASCII)
_NAMED = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?[-/. ]*([a-z]{3,9})[-/., ]*(\d{2}|\d{4})", re.ASCII | re.IGNORECASE)
_NAME_FIRST = re.compile(r"([a-z]{3,9})[-/. ]*(\d{1,2})(?:st|nd|rd|th)?[-/., ]+(\d{2}|\d{4})", re.ASCII | re.IGNORECASE)
_MONTHS = ["january", "february", "march", "april", "may", "june"]
_MONTHS += ["july", "august", "september", "october", "november", "december"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SERIAL_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - Excel knows no zones
# A number is read by its size, the ranges do not meet: Excel's days from 1954 to 2119, and seconds since 1970 or their
# thousandths, millionths and billionths, from 1979 to 2103.
_SERIALS = (20_000, 80_000)
_SECONDS = (300_000_000, 4_200_000_000)


def text(cell: Any) -> str:
    """The cell as text without spaces around it; a whole number has no point, however Excel stored it."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    return str(cell).strip()


def whole(cell: Any, *, mark: str | None = None) -> int:
    """A whole number. `mark` is the decimal mark, where it is known. “1,234” without it may be two numbers."""
    if type(cell) is int:
        return cell
    if type(cell) is str and cell.isdigit() and cell.isascii() and len(cell) <= MOST_DIGITS:
        return int(cell)
    if isinstance(cell, str) and _POWER.fullmatch(cell.strip().lstrip("+-")):
        raise SheetError(
            "shortened_number",
            gettext_noop("“%(cell)s” may have been shortened by a spreadsheet. Give all its digits."),
            cell=_brief(cell),
        )
    number = decimal(cell, mark=mark)
    if number != number.to_integral_value():
        raise SheetError("not_whole", gettext_noop("“%(cell)s” is not a whole number."), cell=_brief(cell))
    return int(number)


def decimal(cell: Any, *, mark: str | None = None) -> Decimal:
    """An exact number: 1234.5, 1,234.5, 1.234,5, 1 234,5, 1'234.5, 12,34,567.8 or 1e-05."""
    if isinstance(cell, bool) or not isinstance(cell, (str, int, float, Decimal)):
        raise _not_a_number(cell)
    if isinstance(cell, float):
        if not math.isfinite(cell):
            raise _not_a_number(cell)
        return Decimal(repr(cell))
    if not isinstance(cell, str):
        return Decimal(cell)
    written = cell.strip()
    sign = "-" if written[:1] in ("-", "−") else ""
    digits = written[1:] if written[:1] in ("+", "-", "−") else written
    if not written.strip("+-−") or len(written) > MOST_DIGITS:
        raise _not_a_number(cell)
    return Decimal(sign + _normal(digits, cell, mark))


def _normal(digits: str, cell: str, mark: str | None) -> str:
    """The digits with a point as decimal mark and nothing between the thousands."""
    if _PLAIN.fullmatch(digits) and digits.isascii():
        return digits
    if not digits.isascii() or "'" in digits or " " in digits:
        digits = _SPACES.sub(" ", digits)
        if not digits.isascii():
            raise _not_a_number(cell)
    if found := _POWER.fullmatch(digits):
        return f"{found[1]}.{found[2] or 0}E{found[3]}"
    ways = set()
    if (found := _SPACED.fullmatch(digits)) and mark in (None, found[2] or mark):
        ways.add(f"{found[1].replace(' ', '')}.{found[3] or 0}")
    if mark != "," and (found := _COMMAS.fullmatch(digits)) and not _starts_with_zero(digits):
        ways.add(f"{found[1].replace(',', '')}.{found[2] or 0}")
    if mark != "." and (found := _POINTS.fullmatch(digits)) and not _starts_with_zero(digits):
        ways.add(f"{found[1].replace('.', '')}.{found[2] or 0}")
    if (found := _FRACTION.fullmatch(digits)) and mark in (None, found[2]) and (found[1] or found[3]):
        ways.add(f"{found[1] or 0}.{found[3] or 0}")
    if len(ways) == 1:
        return ways.pop()
    if ways:
        raise SheetError(
            "ambiguous_number",
            gettext_noop("“%(cell)s” may be %(ways)s. Say which decimal mark the file uses, or leave it out."),
            cell=_brief(cell),
            ways=" / ".join(sorted(way.removesuffix(".0") for way in ways)),
        )
    raise _not_a_number(cell)


def _starts_with_zero(digits: str) -> bool:
    return digits[0] == "0"


def moment(cell: Any, *, zone: tzinfo) -> datetime:
    """A moment in UTC. One that names no offset is in `zone`; a date alone is the start of that day.

    Takes ISO 8601, also with spaces for the T and slashes; moments of Excel, its serial numbers, and seconds since 1970
    or their thousandths, millionths and billionths. What is finer than a microsecond is cut off, never rounded up.
    A time that the zone's clocks skip or show twice is refused.
    """
    if type(cell) is str:
        # Of the shape that the standard library reads alike in all versions of Python.
        if len(cell) > 18 and cell[4] == cell[7] == "-" and cell[10] in " T" and cell[13] == cell[16] == ":":
            try:
                read = datetime.fromisoformat(cell[:26] if cell[19:20] == "." and cell[20:].isdigit() else cell)
            except ValueError:
                read = None
            if read is not None:
                return _placed(read, zone, cell)
        return _written(cell.strip(), zone)
    if isinstance(cell, datetime):
        return _placed(cell, zone, cell)
    if isinstance(cell, date):
        return _placed(datetime.combine(cell, time.min), zone, cell)
    if isinstance(cell, (int, float)) and not isinstance(cell, bool) and math.isfinite(cell):
        return _counted(Decimal(repr(cell)), zone, cell)
    raise _not_a_moment(cell)


def _written(cell: str, zone: tzinfo) -> datetime:
    if found := _MOMENT.fullmatch(cell):
        year, _, month, day, hour, minute, second, fraction, offset = found.groups()
        try:
            read = datetime(  # noqa: DTZ001 - placed in its zone below
                int(year),
                int(month),
                int(day),
                int(hour or 0),
                int(minute or 0),
                int(second or 0),
                int((fraction or "0")[:6].ljust(6, "0")),
            )
        except ValueError:
            raise _not_a_moment(cell) from None
        return _placed(read.replace(tzinfo=_offset(offset, cell)) if offset else read, zone, cell)
    number = cell.replace(",", ".", 1)
    if len(number) <= MOST_DIGITS and re.fullmatch(r"\d+(\.\d+)?", number, re.ASCII):
        return _counted(Decimal(number), zone, cell)
    raise _not_a_moment(cell)


def _offset(written: str, cell: str) -> tzinfo:
    if written[0] not in "+-":
        return UTC
    hours, minutes = int(written[1:3]), int(written[-2:]) if len(written) > 3 else 0
    if hours > 23 or minutes > 59:
        raise _not_a_moment(cell)
    after = timedelta(hours=hours, minutes=minutes)
    return timezone(-after if written[0] == "-" else after)


def _counted(number: Decimal, zone: tzinfo, cell: Any) -> datetime:
    if _SERIALS[0] <= number < _SERIALS[1]:
        # As exact as Excel shows it.
        return _placed(_SERIAL_EPOCH + timedelta(milliseconds=round(number * 86_400_000)), zone, cell)
    for scale in (1, 1_000, 1_000_000, 1_000_000_000):
        if _SECONDS[0] * scale <= number < _SECONDS[1] * scale:
            return _EPOCH + timedelta(microseconds=int(number * 1_000_000 / scale))
    raise _not_a_moment(cell)


def _placed(read: datetime, zone: tzinfo, cell: Any) -> datetime:
    if read.tzinfo is UTC:
        return read
    if read.tzinfo is None:
        if zone is UTC:
            return read.replace(tzinfo=UTC)
        read = read.replace(tzinfo=zone)
        first, second = read.utcoffset(), read.replace(fold=1).utcoffset()
        if first != second and first is not None and second is not None:
            code, template = _SKIPPED if first < second else _TWICE
            raise SheetError(code, template, cell=_brief(cell), zone=str(zone))
    try:
        return read.astimezone(UTC)
    except OverflowError:
        raise _not_a_moment(cell) from None


def day(cell: Any, *, zone: tzinfo, order: Literal["dmy", "mdy"] | None = None) -> date | datetime:
    """A calendar day; with a time of day a moment in UTC, as `moment` has it.

    Takes 2026-12-31, 31.12.2026, 12/31/2026, 31 Dec 2026, 20261231 and Excel's days. `order` says whether the day or
    the month is first, where it is known: 05/06/2026 without it may be two days. Excel's midnight is the day alone.
    """
    if isinstance(cell, datetime):
        return cell.date() if cell.tzinfo is None and cell.time() == time.min else _placed(cell, zone, cell)
    if isinstance(cell, date):
        return cell
    if isinstance(cell, str):
        return _written_day(cell.strip(), zone, order)
    if isinstance(cell, (int, float)) and not isinstance(cell, bool) and math.isfinite(cell):
        return _counted_day(Decimal(repr(cell)), zone, cell)
    raise _not_a_date(cell)


def _written_day(cell: str, zone: tzinfo, order: str | None) -> date | datetime:
    number = cell.replace(",", ".", 1)
    if len(number) <= MOST_DIGITS and re.fullmatch(r"\d+(\.\d+)?", number, re.ASCII):
        return _counted_day(Decimal(number), zone, cell)
    found = _WITH_TIME.fullmatch(cell) if len(cell) <= MOST_DIGITS else None
    if found is None:
        raise _not_a_date(cell)
    read = _date(found[1], cell, order)
    if found[2] is None:
        return read
    clock, half, offset = found[2], found[3], found[4]
    if half:
        hour, _colon, rest = clock.partition(":")
        if not 1 <= int(hour) <= 12:
            raise _not_a_date(cell)
        clock = f"{int(hour) % 12 + (12 if half.lower() == 'pm' else 0)}:{rest}"
    return _written(f"{read.isoformat()} {clock}{offset}", zone)


def _counted_day(number: Decimal, zone: tzinfo, cell: Any) -> date | datetime:
    if _SERIALS[0] <= number < _SERIALS[1] and number == int(number):
        return _SERIAL_EPOCH.date() + timedelta(days=int(number))
    if _SERIALS[0] <= number < _SERIALS[1] or number >= _SECONDS[0]:
        return _counted(number, zone, cell)
    if found := _YEAR_FIRST.fullmatch(str(number)):
        return _valid(int(found[5]), int(found[7]), int(found[8]), cell)
    raise _not_a_date(cell)


def _date(written: str, cell: str, order: str | None) -> date:
    if found := _YEAR_FIRST.fullmatch(written):
        return _valid(int(found[1] or found[5]), int(found[3] or found[7]), int(found[4] or found[8]), cell)
    if found := _NAMED.fullmatch(written):
        return _valid(_year(found[3], cell), _month(found[2], cell), int(found[1]), cell)
    if found := _NAME_FIRST.fullmatch(written):
        return _valid(_year(found[3], cell), _month(found[1], cell), int(found[2]), cell)
    if found := _YEAR_LAST.fullmatch(written):
        first, second, year = int(found[1]), int(found[3]), _year(found[4], cell)
        if order is None and first <= 12 and second <= 12 and first != second:
            ways = sorted(date(year, *pair).isoformat() for pair in ((first, second), (second, first)))
            raise SheetError(
                "ambiguous_date",
                gettext_noop("“%(cell)s” may be %(ways)s. Say whether the day or the month is first in the file."),
                cell=_brief(cell),
                ways=" / ".join(ways),
            )
        is_month_first = order == "mdy" or (order is None and second > 12)
        return _valid(year, *((first, second) if is_month_first else (second, first)), cell)
    raise _not_a_date(cell)


def _year(written: str, cell: str) -> int:
    if len(written) == 2:
        raise SheetError(
            "short_year", gettext_noop("“%(cell)s” has a year of two digits. Write all four."), cell=_brief(cell)
        )
    return int(written)


def _month(name: str, cell: str) -> int:
    found = [number for number, month in enumerate(_MONTHS, 1) if name.lower() in (month, month[:3], month[:4])]
    if len(found) != 1:
        raise _not_a_date(cell)
    return found[0]


def _valid(year: int, month: int, day_: int, cell: Any) -> date:
    try:
        return date(year, month, day_)
    except ValueError:
        raise _not_a_date(cell) from None


_SKIPPED = (
    "skipped_time",
    gettext_noop("“%(cell)s” never was in %(zone)s: clocks were put forward over it. Give the time with its offset."),
)
_TWICE = (
    "repeated_time",
    gettext_noop("“%(cell)s” was twice in %(zone)s: clocks were put back over it. Give the time with its offset."),
)


def _not_a_number(cell: Any) -> SheetError:
    return SheetError("not_a_number", gettext_noop("“%(cell)s” is not a number."), cell=_brief(cell))


def _not_a_moment(cell: Any) -> SheetError:
    return SheetError(
        "not_a_moment",
        gettext_noop("“%(cell)s” is not a date and time. Write it as 2026-01-31 18:30:00."),
        cell=_brief(cell),
    )


def _not_a_date(cell: Any) -> SheetError:
    return SheetError(
        "not_a_date", gettext_noop("“%(cell)s” is not a date. Write it as 2026-12-31."), cell=_brief(cell)
    )


def _brief(cell: Any) -> str:
    written = str(cell).strip()
    return written if len(written) <= 80 else written[:79] + "…"
