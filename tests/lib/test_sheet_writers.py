"""Files as they are written: read back as they were, safe to open, flat in memory."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook

from django_token_pricing.lib import sheet_writers
from django_token_pricing.lib.cells import UTC, decimal, moment, whole
from django_token_pricing.lib.rows import SheetError
from django_token_pricing.lib.sheet_writers import FORMATS, MOST_CELL, XlsxWriter
from django_token_pricing.lib.sheets import open_sheet, unescaped

SHEETS = pytest.mark.parametrize("name", ["csv", "xlsx"])
AT = datetime(2026, 11, 22, 9, 30, 0, 120, timezone(timedelta(hours=5, minutes=30)))
# What escapes are made of, more often than chance would have it.
TEXTS = st.text(
    st.one_of(st.sampled_from("'=+-@_x0041DFe \t\r\n\"\x01\x1f,;"), st.characters(exclude_categories=["Cs"]))
)
CSV_TEXTS = TEXTS.filter(lambda text: "\0" not in text)  # which no database of ours holds


def written(name: str, columns: list[str], rows: Any) -> bytes:
    stream = io.BytesIO()
    with FORMATS[name].writer(columns, stream) as writer:
        writer.write(rows)
    return stream.getvalue()


def read(data: bytes) -> list[list[Any]]:
    with open_sheet(io.BytesIO(data)) as sheet:
        found = list(sheet.rows)
    assert [problem for _line, _cells, problem in found if problem] == []
    return [cells for _line, cells, _problem in found]


@given(rows=st.lists(st.tuples(CSV_TEXTS, CSV_TEXTS), max_size=5))
def test_text_in_csv_is_read_back(rows: list[tuple[str, str]]) -> None:
    data = written("csv", ["id", "a", "b"], [("n", *row) for row in rows])
    assert [tuple(map(unescaped, cells[1:])) for cells in read(data)] == rows


@given(rows=st.lists(st.tuples(TEXTS, TEXTS), max_size=5))
def test_text_in_xlsx_is_read_back(rows: list[tuple[str, str]]) -> None:
    data = written("xlsx", ["id", "a", "b"], [("n", *row) for row in rows])
    assert [tuple(unescaped(cell) or "" for cell in cells[1:]) for cells in read(data)] == rows


@SHEETS
@given(number=st.integers(-(2**63), 2**63 - 1))
def test_whole_numbers_are_read_back(name: str, number: int) -> None:
    ((cell,),) = read(written(name, ["a"], [[number]]))
    assert whole(cell) == number


@SHEETS
@given(number=st.decimals(allow_nan=False, allow_infinity=False, places=10, min_value=-(10**9), max_value=10**9))
def test_decimals_are_read_back(name: str, number: Decimal) -> None:
    ((cell,),) = read(written(name, ["a"], [[number]]))
    assert decimal(cell, mark=".") == number


@SHEETS
@given(at=st.datetimes(timezones=st.just(timezone.utc)))
def test_moments_are_read_back_to_the_microsecond(name: str, at: datetime) -> None:
    ((cell,),) = read(written(name, ["a"], [[at]]))
    assert moment(cell, zone=UTC) == at


@SHEETS
@pytest.mark.parametrize("text", ["=1+1", "'=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)", " -2+3", "\t5", "＝1"])
def test_no_cell_is_a_formula(name: str, text: str) -> None:
    data = written(name, ["n", text], [[1, text]])
    if name == "csv":
        assert [row[1] for row in csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))] == [f"'{text}"] * 2
    else:
        sheet = load_workbook(io.BytesIO(data)).active
        assert sheet is not None
        assert [(row[1].value, row[1].data_type) for row in sheet.iter_rows()] == [(f"'{text}", "s")] * 2


def test_csv_has_a_mark_and_the_lines_of_its_standard() -> None:
    row = [1, Decimal("1.50"), True, False, None, 'a,"b"\nc', AT, date(2026, 11, 22), 0.5]
    assert written("csv", [*"abcdefghi"], [row]) == (
        b"\xef\xbb\xbfa,b,c,d,e,f,g,h,i\r\n"
        b'1,1.50,TRUE,FALSE,,"a,""b""\nc",2026-11-22T09:30:00.000120+05:30,2026-11-22,0.5\r\n'
    )


def test_json_is_an_array_with_a_line_for_each_row() -> None:
    row = [1, Decimal("1.50"), True, None, "=1\n", AT, date(2026, 11, 22), "\ud800"]
    data = written("json", [*"abcdefgh"], [row, row])
    assert (
        json.loads(data)
        == [
            {
                "a": 1,
                "b": "1.50",
                "c": True,
                "d": None,
                "e": "=1\n",
                "f": "2026-11-22T09:30:00.000120+05:30",
                "g": "2026-11-22",
                "h": "\ud800",
            }
        ]
        * 2
    )
    assert len(data.splitlines()) == 4


@pytest.mark.parametrize(("name", "data"), [("csv", b"\xef\xbb\xbfa\r\n"), ("json", b"[]\n")])
def test_a_table_without_rows_is_a_whole_file(name: str, data: bytes) -> None:
    assert written(name, ["a"], []) == data


def test_xlsx_is_read_by_others_with_types() -> None:
    row = [1, 10**14, 10**15, Decimal("1.50"), Decimal("1.123456789012345678"), True, None, "ä\n", AT, 0.1]
    columns = [f"c{number}" for number in range(30)]
    sheet = load_workbook(io.BytesIO(written("xlsx", columns, [row, row]))).active
    assert sheet is not None
    assert [cell.value for cell in next(iter(sheet.iter_rows()))] == columns
    assert [cell.value for cell in list(sheet.iter_rows())[2]][:10] == [
        1,
        10**14,
        str(10**15),
        1.5,
        "1.123456789012345678",
        True,
        None,
        "ä\n",
        "2026-11-22T09:30:00.000120+05:30",
        0.1,
    ]


def test_the_same_rows_are_the_same_file() -> None:
    for name in FORMATS:
        assert written(name, ["a"], [[1]]) == written(name, ["a"], [[1]])


def test_more_rows_than_excel_takes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet_writers, "MOST_ROWS", 3)
    assert len(read(written("xlsx", ["a"], [[1]] * 3))) == 3
    with pytest.raises(SheetError) as raised:
        written("xlsx", ["a"], [[1]] * 4)
    assert raised.value.code == "too_many_rows"
    assert "CSV" in str(raised.value)


@pytest.mark.parametrize("character", ["x", "\N{PILE OF POO}"])
def test_a_cell_longer_than_excel_takes_is_refused(character: str) -> None:
    most = character * (MOST_CELL // (1 if character == "x" else 2))
    assert read(written("xlsx", ["a"], [[most]])) == [[most]]
    with pytest.raises(SheetError) as raised:
        written("xlsx", ["a"], [[most + character]])
    assert raised.value.code == "too_long"


def test_a_sheet_larger_than_its_headers_can_say_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet_writers, "MOST_SHEET", 5_000)
    with pytest.raises(SheetError) as raised:
        written("xlsx", ["a"], [["x" * 100]] * 100)
    assert raised.value.code == "too_large"


def test_after_an_error_nothing_more_is_written() -> None:
    stream = io.BytesIO()
    with pytest.raises(KeyError), XlsxWriter(["a"], stream) as writer:
        writer.write([[1]])
        size = stream.tell()
        raise KeyError
    assert stream.tell() == size


@pytest.mark.parametrize("name", FORMATS)
def test_pieces_stay_small_however_many_rows_there_are(name: str) -> None:
    pieces: list[int] = []

    class Stream:
        def write(self, content: bytes) -> None:
            pieces.append(len(content))

    with FORMATS[name].writer(["a", "b"], Stream()) as writer:
        writer.write([number, f"text {number}"] for number in range(20_000))
    assert max(pieces) < 100_000


@pytest.mark.parametrize("name", FORMATS)
def test_memory_does_not_grow_with_the_file(name: str) -> None:
    peaks = [_peak(name, rows) for rows in (2_000, 100_000)]
    assert peaks[1] - peaks[0] < 4_000  # kilobytes


def _peak(name: str, rows: int) -> int:
    script = (
        "import resource, sys\n"
        "from django_token_pricing.lib.sheet_writers import FORMATS\n"
        "with open('/dev/null', 'wb') as file, FORMATS[sys.argv[1]].writer(['a', 'b'], file) as writer:\n"
        "    writer.write([n, f'text {n}'] for n in range(int(sys.argv[2])))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, name, str(rows)], capture_output=True, text=True, check=True)
    return int(done.stdout)
