"""XLSX as openpyxl, Excel and LibreOffice write it, and as an attacker does."""

from __future__ import annotations

import io
import zipfile
from datetime import datetime, time
from typing import Any

import pytest
from openpyxl import Workbook

from django_token_pricing.lib.rows import MOST_COLUMNS, SheetError
from django_token_pricing.lib.sheets import open_sheet

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATED = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"

RELATIONS = f"""<Relationships xmlns="{PACKAGE}">
    <Relationship Id="rId1" Type="{RELATED}/officeDocument" Target="xl/workbook.xml"/></Relationships>"""
BOOK_RELATIONS = f"""<Relationships xmlns="{PACKAGE}">
    <Relationship Id="rId1" Type="{RELATED}/worksheet" Target="worksheets/sheet1.xml"/>
    <Relationship Id="rId2" Type="{RELATED}/styles" Target="/xl/styles.xml"/>
    <Relationship Id="rId3" Type="{RELATED}/sharedStrings" Target="sharedStrings.xml"/></Relationships>"""
BOOK = f"""<workbook xmlns="{MAIN}" xmlns:r="{RELATED}"><sheets><sheet name="S" r:id="rId1"/></sheets></workbook>"""
STYLES = f"""<styleSheet xmlns="{MAIN}"><numFmts count="3">
    <numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss"/>
    <numFmt numFmtId="165" formatCode="#,##0.00\\ [$EUR-407];[Red]&quot;minus days&quot;0"/>
    <numFmt numFmtId="166" formatCode="General"/></numFmts>
    <cellStyleXfs><xf numFmtId="14"/></cellStyleXfs>
    <cellXfs><xf numFmtId="0"/><xf numFmtId="22"/><xf numFmtId="164"/><xf numFmtId="165"/><xf numFmtId="166"/></cellXfs>
    <dxfs/></styleSheet>"""
STRINGS = f"""<sst xmlns="{MAIN}"><si><t>a</t></si><si><t>b</t></si>
    <si><r><t>rich </t></r><r><t xml:space="preserve">text</t></r><rPh sb="0" eb="1"><t>no</t></rPh></si>
    <si><t>line_x000D_
end</t></si><si><t/></si></sst>"""


def book(sheet: str, **parts: str) -> io.BytesIO:
    """A workbook of the least there is, around the rows of a sheet."""
    whole = {
        "_rels/.rels": RELATIONS,
        "xl/workbook.xml": BOOK,
        "xl/_rels/workbook.xml.rels": BOOK_RELATIONS,
        "xl/styles.xml": STYLES,
        "xl/sharedStrings.xml": STRINGS,
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{MAIN}"><sheetData>{sheet}</sheetData></worksheet>',
        **parts,
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in whole.items():
            archive.writestr(path, text)
    file.seek(0)
    return file


def rows(file: Any) -> list[tuple[int, list[Any]]]:
    with open_sheet(file) as sheet:
        found = list(sheet.rows)
    assert [problem for _line, _cells, problem in found if problem] == []
    return [(line, cells) for line, cells, _problem in found]


def refusal(file: Any) -> str:
    with pytest.raises(SheetError) as raised:
        rows(file)
    assert str(raised.value)
    return raised.value.code


HEADER = '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>'


def test_what_openpyxl_wrote_is_read() -> None:
    at = datetime(2023, 11, 16, 18, 17, 3, 980_000)  # noqa: DTZ001 - a sheet knows no zones
    workbook = Workbook()
    sheet = workbook.active
    assert sheet is not None
    for row in [["when", "tokens", "note", "ok"], [at, 5, "Zoë & <co>", True], [], [None, 2.5, None, False], [None]]:
        sheet.append(row)
    file = io.BytesIO()
    workbook.save(file)
    assert rows(file) == [(2, [at, 5, "Zoë & <co>", True]), (4, [None, 2.5, None, False])]


def test_cells_have_their_types() -> None:
    file = book(
        HEADER
        + '<row r="2" ht="12.8" customHeight="1"><c r="A2" t="s"><v>2</v></c><c r="B2" s="1"><v>45246.5</v></c></row>'
        '<row r="3"><c r="A3" t="inlineStr"><is><t>in</t><t>line</t></is></c><c r="B3" s="2"><v>45246</v></c></row>'
        '<row r="4"><c r="A4" t="str"><f>A1&amp;B1</f><v>ab</v></c><c r="B4" s="3"><v>1234.5</v></c></row>'
        '<row r="5"><c r="A5" t="e"><v>#REF!</v></c><c r="B5" s="4"><v>7</v></c></row>'
        '<row r="6"><c r="A6" t="b"><v>0</v></c><c r="B6"><f>1+1</f></c></row>'
        '<row r="7"><c r="A7" t="d"><v>2023-11-16T18:17:03</v></c><c r="B7" s="1"><v>0.75</v></c></row>'
        '<row r="8"><c r="A8" t="s"><v>3</v></c><c r="B8"><v>1E3</v></c></row>'
        '<row r="9"><c r="A9" t="s"><v>4</v></c><c r="B9" s="1"><v>1e300</v></c></row>'
    )
    assert rows(file) == [
        (2, ["rich text", datetime(2023, 11, 16, 12)]),  # noqa: DTZ001
        (3, ["inline", datetime(2023, 11, 16)]),  # noqa: DTZ001
        (4, ["ab", 1234.5]),
        (5, ["#REF!", 7]),
        (6, [False, None]),
        (7, ["2023-11-16T18:17:03", time(18)]),
        (8, ["line\r\nend", 1000.0]),
        (9, [None, 1e300]),
    ]


def test_cells_without_references_follow_each_other() -> None:
    header = '<row><c t="s"><v>0</v></c><c t="s"><v>1</v></c></row>'
    assert rows(book(header + "<row><c><v>1</v></c><c/></row><row><c/><c><v>2</v></c></row>")) == [
        (2, [1, None]),
        (3, [None, 2]),
    ]


def test_a_workbook_whose_names_have_a_prefix_is_read() -> None:
    sheet = (
        f'<x:worksheet xmlns:x="{MAIN}"><x:sheetData><x:row><x:c><x:v>1</x:v></x:c></x:row>'
        "<x:row><x:c><x:v>2</x:v></x:c></x:row></x:sheetData></x:worksheet>"
    )
    assert rows(book("", **{"xl/worksheets/sheet1.xml": sheet})) == [(2, [2])]


def test_the_years_of_a_mac_start_in_1904() -> None:
    at_1904 = BOOK.replace("<sheets>", '<workbookPr date1904="1"/><sheets>')
    file = book(HEADER + '<row r="2"><c r="B2" s="1"><v>43784.5</v></c></row>', **{"xl/workbook.xml": at_1904})
    assert rows(file) == [(2, [None, datetime(2023, 11, 16, 12)])]  # noqa: DTZ001


def test_a_hidden_sheet_is_passed_over() -> None:
    workbook = Workbook()
    first, second = workbook.active, workbook.create_sheet("seen")
    assert first is not None
    first.sheet_state = "hidden"
    first.append(["no"])
    second.append(["yes"])
    second.append([5])
    file = io.BytesIO()
    workbook.save(file)
    with open_sheet(file) as sheet:
        assert (sheet.columns, list(sheet.rows)) == (["yes"], [(2, [5], None)])


def test_formatted_but_empty_rows_and_columns_are_nothing() -> None:
    empty = "".join(f'<row r="{n}" ht="15"><c r="A{n}" s="1"/><c r="XFD{n}" s="1"/></row>' for n in range(3, 500))
    assert rows(book(HEADER + '<row r="2"><c r="A2"><v>1</v></c></row>' + empty)) == [(2, [1, None])]


def test_a_row_far_to_the_right_is_told_apart() -> None:
    with open_sheet(book(HEADER + '<row r="2"><c r="XFD2"><v>1</v></c></row>')) as sheet:
        ((line, _cells, problem),) = sheet.rows
    assert problem is not None
    assert (line, problem.code) == (2, "too_many_columns")


@pytest.mark.parametrize(
    ("file", "code"),
    [
        (io.BytesIO(b"PK\x03\x04 and no more"), "damaged"),
        (book(HEADER + "<row><c>"), "damaged"),
        (book(HEADER + '<row r="x"/>'), "damaged"),
        (book(HEADER + '<row r="2"><c r="A2" t="s"><v>99</v></c></row>'), "damaged"),
        (book(HEADER + '<row r="2"><c r="!2"><v>9</v></c></row>'), "damaged"),
        (book("", **{"xl/workbook.xml": "<workbook/>"}), "damaged"),
        (book("", **{"_rels/.rels": "<Relationships/>"}), "damaged"),
        (book(""), "empty"),
        (book("".join("<row><c><v>1</v></c></row>" for _ in range(2)) + "<row>" + "<c/>" * 3), "damaged"),
        (book("<row>" + "<c><v>1</v></c>" * (MOST_COLUMNS + 2) + "</row>"), "too_many_columns"),
        (book(HEADER + "<row>" + f'<c t="str"><v>{"x" * (2 << 20)}</v></c></row>'), "too_long"),
        (book(HEADER + f'<row x="{"x" * (6 << 20)}"/>'), "damaged"),
        (book(HEADER + " " * (300 << 20)), "unpacks_too_large"),
        (
            book(
                "", **{"xl/sharedStrings.xml": f'<!DOCTYPE x [<!ENTITY a "{"a" * 9}">]><sst><si><t>&a;</t></si></sst>'}
            ),
            "unsafe",
        ),
        (book("<!DOCTYPE x []>"), "damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_trusted_is_refused_with_a_code(file: io.BytesIO, code: str) -> None:
    assert refusal(file) == code


def test_a_part_that_holds_more_than_its_header_says_is_refused() -> None:
    file = book(HEADER + "<row><c><v>1</v></c></row>" * 1000)
    data = bytearray(file.getvalue())
    with zipfile.ZipFile(file) as archive:
        size = archive.getinfo("xl/worksheets/sheet1.xml").file_size
    lying = bytes(data).replace(size.to_bytes(4, "little"), (200).to_bytes(4, "little"))
    assert refusal(io.BytesIO(lying)) == "damaged"


def test_the_callers_errors_stay_the_callers() -> None:
    with pytest.raises(KeyError), open_sheet(book(HEADER)):
        raise KeyError
