"""CSV and XLSX as people save them, and files meant to do harm."""

from __future__ import annotations

import codecs
import csv
import io
import random
import re
import subprocess
import sys
from datetime import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_token_pricing.lib.rows import MOST_CHARACTERS, MOST_COLUMNS, Row, SheetError
from django_token_pricing.lib.sheets import formula_safe, open_sheet, unescaped


def rows(data: bytes) -> list[Row]:
    with open_sheet(io.BytesIO(data)) as sheet:
        return list(sheet.rows)


def cells(data: bytes) -> list[list[Any]]:
    found = rows(data)
    assert [problem for _line, _cells, problem in found if problem] == []
    return [cells for _line, cells, _problem in found]


def refusal(data: bytes) -> SheetError:
    with pytest.raises(SheetError) as raised:
        rows(data)
    assert str(raised.value)
    return raised.value


PEOPLE = "Name,Tokens\nZoë,5\nJosé,6\n"


@pytest.mark.parametrize(
    "data",
    [
        PEOPLE.encode(),
        PEOPLE.encode("utf-8-sig"),
        PEOPLE.encode("utf-16"),
        codecs.BOM_UTF16_BE + PEOPLE.encode("utf-16-be"),
        PEOPLE.encode("utf-16-le"),
        PEOPLE.encode("utf-16-be"),
        PEOPLE.encode("utf-32"),
        PEOPLE.encode("cp1252"),
        PEOPLE.replace("\n", "\r\n").encode(),
        PEOPLE.replace("\n", "\r").encode(),
        PEOPLE.rstrip("\n").encode(),
        PEOPLE.replace(",", ";").encode(),
        PEOPLE.replace(",", "\t").encode("utf-16"),
        PEOPLE.replace(",", "|").encode(),
        b"sep=;\r\n" + PEOPLE.replace(",", ";").encode(),
        b"\n\n" + PEOPLE.encode() + b"\n,\n  ,  \n\n",
        PEOPLE.replace("Tokens", " Tokens ,,").encode(),
        b'"Name","Tokens"\n"Zo\xc3\xab","5"\n"Jos\xc3\xa9","6"\n',
    ],
)
def test_whatever_the_dialect_the_table_is_the_same(data: bytes) -> None:
    with open_sheet(io.BytesIO(data)) as sheet:
        assert (sheet.place("Name"), sheet.place("Tokens")) == (0, 1)
        assert [cells[:2] for _line, cells, _problem in sheet.rows] == [["Zoë", "5"], ["José", "6"]]


def test_a_decimal_comma_is_not_taken_for_the_delimiter() -> None:
    assert cells(b"model, version;cost\na;1,5\nb;2,25\n") == [["a", "1,5"], ["b", "2,25"]]


def test_one_column_needs_no_delimiter() -> None:
    assert cells(b"tokens\n5\n6\n") == [["5"], ["6"]]


def test_rows_are_numbered_by_the_line_on_which_they_start() -> None:
    found = rows(b'a,b\r\n1,"x\r\ny\r\nz"\r\n\r\n2,w\r\n')
    assert [(line, cells) for line, cells, _problem in found] == [(2, ["1", "x\r\ny\r\nz"]), (6, ["2", "w"])]


@pytest.mark.parametrize(
    ("asked", "place"), [("Context Tokens", 0), ("contexttokens", 0), (" CONTEXT  TOKENS", 0), ("b", 1), ("B", 2)]
)
def test_columns_are_found_whatever_their_case_and_spaces(asked: str, place: int) -> None:
    with open_sheet(io.BytesIO(b"Context Tokens ,b,B\n1,2,3\n")) as sheet:
        assert sheet.place(asked) == place


@pytest.mark.parametrize(
    ("asked", "code"), [("c", "missing_column"), ("a", "duplicate_column"), ("B", "duplicate_column")]
)
def test_a_column_that_is_missing_or_there_twice_is_refused(asked: str, code: str) -> None:
    with open_sheet(io.BytesIO(b"a,a,b , b\n1,2,3,4\n")) as sheet, pytest.raises(SheetError) as raised:
        sheet.place(asked)
    assert raised.value.code == code
    assert f"“{asked}”" in str(raised.value)


def test_a_column_that_is_there_twice_does_no_harm_to_the_others() -> None:
    with open_sheet(io.BytesIO(b"a,a,b\n1,2,3\n")) as sheet:
        assert sheet.place("b") == 2


def test_a_row_with_more_cells_than_columns_is_told_apart() -> None:
    found = rows(b"a,b\n1,2\n1,2,3\n4,5,,\n6\n")
    assert [(line, cells, problem and problem.code) for line, cells, problem in found] == [
        (2, ["1", "2"], None),
        (3, ["1", "2", "3"], "too_many_cells"),
        (4, ["4", "5"], None),
        (5, ["6"], None),
    ]


def test_a_nul_spoils_its_row_alone() -> None:
    found = rows(b"a,b\n1,x\x00y\n2,z\n")
    assert [(cells[0], problem and problem.code) for _line, cells, problem in found] == [("1", "nul"), ("2", None)]


def test_a_quote_that_is_never_closed_is_told_where_it_opens() -> None:
    found = rows(b'a,b\n1,x\n2,"y\n3,z\n')
    assert [(line, problem and problem.code) for line, _cells, problem in found] == [(2, None), (3, "unclosed_quote")]


def test_a_quote_closed_on_the_last_line_without_an_end_is_fine() -> None:
    assert cells(b'a,b\n1,"x"') == [["1", "x"]]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"\n\n  \n", "empty"),
        (codecs.BOM_UTF8, "empty"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "old_excel"),
        (b"a,b\n\x81\x8d,1\n", "encoding"),
        (b"a,b\n1,\xe2\x82", "encoding"),
        (b"a,b\n1," + b"x" * 200_000 + b"\n", "too_long"),
        (b"a,b\n1," + b"x" * (10 << 20), "too_long"),
        (b'a,b\n1,"' + b"x\n" * (2 << 20), "too_long"),
        (b",".join(b"c%d" % n for n in range(MOST_COLUMNS + 1)) + b"\n1\n", "too_many_columns"),
        (b",".join(b"c%d" % n for n in range(1_000_000)) + b"\n1\n", "too_long"),
        (b"a,b,\x00c\n1,2,3\n", "nul"),
    ],
)
def test_what_spoils_the_file_is_refused_with_a_code(data: bytes, code: str) -> None:
    assert refusal(data).code == code


def test_rows_before_a_spoiled_one_are_given() -> None:
    found = []
    with open_sheet(io.BytesIO(b"a,b\n1,2\n3," + b"x" * 200_000)) as sheet, pytest.raises(SheetError):
        found.extend(row for row in _kept(sheet.rows, found))
    assert [cells for _line, cells, _problem in found] == [["1", "2"]]


def _kept(source: Any, found: list[Row]) -> Any:
    for row in source:
        found.append(row)
        yield from ()


def test_a_long_line_holds_even_where_the_host_lifted_csvs_own_limit() -> None:
    before = csv.field_size_limit(1 << 30)
    try:
        assert refusal(b'a,b\n1,"' + b"x\n" * MOST_CHARACTERS).code == "too_long"
    finally:
        csv.field_size_limit(before)


def test_a_share_of_what_was_read_is_told() -> None:
    data = b"a,b\n" + b"1,2\n" * 100_000
    with open_sheet(io.BytesIO(data)) as sheet:
        first, *_, last = [sheet.read_share() for _row in sheet.rows]
    assert 0 < first < 0.5
    assert last == 1


def test_a_file_is_left_open_for_who_opened_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a\n1\n")
    with path.open("rb") as file:
        with open_sheet(file) as sheet:
            assert list(sheet.rows) == [(2, ["1"], None)]
        assert not file.closed


FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "'=1", "''@a", "'\t1"]


@pytest.mark.parametrize("cell", FORMULAS)
def test_text_that_a_spreadsheet_would_run_is_quoted(cell: str) -> None:
    assert formula_safe(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["", "a=b", "-5", "+1,234.5", "-1e-05", "1-2", "'", "'a", "'-5", 5, -5, None, time(1)])
def test_other_cells_are_left_alone(cell: Any) -> None:
    assert formula_safe(cell) == cell == unescaped(cell)


@given(st.text(st.one_of(st.sampled_from("'=+-@＝ \t\r\n1.,e"), st.characters())))
def test_quoting_is_taken_back_whatever_the_text_is(text: str) -> None:
    safe = formula_safe(text)
    assert unescaped(safe) == text
    if safe.lstrip().startswith(tuple("=+-@＝＋－＠")) or safe.startswith(tuple("\t\r\n")):
        assert re.fullmatch(r"[+-][\d.,' ]*\d([eE][+-]?\d+)?", safe.lstrip()), "is no number"


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = [_peak(_long_file(tmp_path, lines)) for lines in (2_000, 200_000)]
    assert peaks[1] - peaks[0] < 4_000  # kilobytes


def _long_file(folder: Path, lines: int) -> Path:
    path = folder / f"{lines}.csv"
    noise = random.Random(1)
    with path.open("w") as file:
        file.write("a,b,c\n")
        file.writelines(f"{noise.random()},{n},text number {n}\n" for n in range(lines))
    return path


def _peak(path: Path) -> int:
    script = (
        "import resource, sys\n"
        "from django_token_pricing.lib.sheets import open_sheet\n"
        "with open_sheet(sys.argv[1]) as sheet:\n"
        "    for row in sheet.rows: pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    return int(done.stdout)
