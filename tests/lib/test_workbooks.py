"""Several tables in one file: typed cells, names that are safe, memory that stays flat."""

from __future__ import annotations

import io
import json
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pytest

from django_token_pricing.lib import sheet_writers
from django_token_pricing.lib.rows import SheetError
from django_token_pricing.lib.sheet_writers import FORMATS
from django_token_pricing.lib.workbooks import BOOKS, STYLES, Column

COLUMNS = [Column(kind, kind) for kind in STYLES]
MOMENT = datetime(2026, 11, 10, 23, 30, 15, tzinfo=timezone.utc)
ROW = ["=1+1", 12_345, Decimal("1234.000000000001"), Decimal("0.25"), date(2026, 11, 10), MOMENT]
ZONE = ZoneInfo("Asia/Kolkata")


def written(name: str, *tables: tuple[str, list[Column], list[Any]]) -> bytes:
    stream = io.BytesIO()
    with BOOKS[name](stream, ZONE) as book:
        for table in tables:
            book.write(*table)
    return stream.getvalue()


def test_there_is_a_book_for_each_format() -> None:
    assert BOOKS.keys() == FORMATS.keys()


def test_cells_of_a_workbook_have_their_types() -> None:
    file = written("xlsx", ("By day", COLUMNS, [ROW, [None] * 6]), ("About", [Column("name")], [["x"]]))
    book = openpyxl.load_workbook(io.BytesIO(file))
    assert book.sheetnames == ["By day", "About"]
    head, cells, *_rest = book["By day"].iter_rows()
    assert [cell.value for cell in head] == list(STYLES)
    text, whole, amount, share, day, moment = cells
    assert (text.value, text.data_type) == ("'=1+1", "s")
    assert (whole.value, whole.number_format) == (12_345, "#,##0")
    assert (amount.value, amount.number_format) == (1234.000000000001, "#,##0.00##########")
    assert (share.value, share.number_format) == (0.25, "0.00%")
    assert (day.value, day.is_date) == (datetime(2026, 11, 10), True)  # noqa: DTZ001 - a spreadsheet has no zone
    # As clocks in Kolkata show it.
    assert moment.value == datetime(2026, 11, 11, 5, 0, 15)  # noqa: DTZ001


def test_json_holds_each_table_exactly() -> None:
    found = json.loads(written("json", ("by_day", COLUMNS, [ROW]), ("empty", COLUMNS, [])))
    assert found["by_day"][0]["amount"] == "1234.000000000001"
    assert found["by_day"][0]["text"] == "=1+1"
    assert found["by_day"][0]["moment"] == "2026-11-10T23:30:15.000000+00:00"
    assert found["empty"] == []


def test_json_without_tables_is_an_empty_object() -> None:
    assert json.loads(written("json")) == {}


def test_csv_holds_a_table_and_runs_no_formula() -> None:
    text = written("csv", ("by_day", COLUMNS, [ROW])).decode("utf-8-sig")
    lines = text.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("'=1+1,12345,1234.000000000001,0.25,2026-11-10,")


@pytest.mark.parametrize("name", BOOKS)
def test_an_error_leaves_the_stream_with_no_complete_file(name: str) -> None:
    def rows() -> Any:
        yield ROW
        raise KeyError

    stream = io.BytesIO()
    with pytest.raises(KeyError), BOOKS[name](stream, ZONE) as book:
        book.write("by_day", COLUMNS, rows())
    if name == "xlsx":
        with pytest.raises(Exception, match="not a zip"):
            openpyxl.load_workbook(io.BytesIO(stream.getvalue()))


def test_a_sheet_takes_what_excel_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet_writers, "MOST_ROWS", 1)
    with pytest.raises(SheetError):
        written("xlsx", ("by_day", COLUMNS, [ROW, ROW]))


def test_numbers_of_many_digits_stay_numbers() -> None:
    file = written("xlsx", ("a", [Column("n", "amount"), Column("w", "whole")], [[Decimal("1" * 20), 10**18]]))
    _head, (amount, whole) = openpyxl.load_workbook(io.BytesIO(file))["a"].iter_rows()
    assert (amount.data_type, whole.value) == ("n", 10**18)
