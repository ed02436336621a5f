"""Several tables in one file: an XLSX with a sheet and typed cells for each, or a JSON object. CSV holds one table.

In XLSX numbers, days and moments are what a spreadsheet reckons with: it keeps 15 digits of a number and no zone, so
moments are written as the clocks of one zone show them. CSV and JSON are exact, as in `sheet_writers`.
"""

from __future__ import annotations

import json
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from decimal import Decimal
from types import TracebackType
from typing import Any

from django_token_pricing.lib.sheet_writers import (
    HEAD,
    KIND,
    MAIN,
    PACKAGE,
    RELATED,
    CsvWriter,
    JsonWriter,
    Outlet,
    Stream,
    Writer,
    XlsxWriter,
    letters_of,
)

# Kinds of columns, and the style that each has in the workbook.
STYLES = {"text": 3, "whole": 1, "amount": 6, "share": 7, "day": 4, "moment": 5}
_FORMATS = {164: "yyyy\\-mm\\-dd", 165: "yyyy\\-mm\\-dd\\ hh:mm:ss", 166: "#,##0.00##########"}
# By style: number format, font.
_CELLS = [(0, 0), (3, 0), (0, 1), (49, 0), (164, 0), (165, 0), (166, 0), (10, 0)]
_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - what Excel counts from has no zone
_MOST_NAME = 31


@dataclass(frozen=True, slots=True)
class Column:
    """`kind` is text, whole, amount, share (of 1), day or moment; its name is for machines."""

    name: str
    kind: str = "text"


class Workbook(ABC):
    """Writes tables one after the other, each row by row in flat memory.

    As a context manager it completes the file, but not after an error: what was written then is no file.
    """

    def __init__(self, stream: Stream, zone: tzinfo) -> None:
        self.stream = stream
        self.zone = zone

    def __enter__(self) -> Workbook:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

    @abstractmethod
    def table(self, name: str, columns: Sequence[Column]) -> Writer:
        """The next table, to be written before the one after it. Its `write` raises SheetError."""

    def write(self, name: str, columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> None:
        """A whole table."""
        with self.table(name, columns) as table:
            table.write(rows)

    @abstractmethod
    def close(self) -> None:
        """Write what ends the file."""

    def abandon(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Give up."""


class CsvBook(Workbook):
    """One table, and no other."""

    def table(self, name: str, columns: Sequence[Column]) -> Writer:
        return CsvWriter([column.name for column in columns], self.stream)

    def close(self) -> None:
        """There is no end to write."""


class JsonBook(Workbook):
    """An object with an array for each table."""

    between = "{\n"

    def table(self, name: str, columns: Sequence[Column]) -> Writer:
        self.stream.write(f"{self.between}{json.dumps(name)}: ".encode())
        self.between = ",\n"
        return JsonWriter([column.name for column in columns], self.stream)

    def close(self) -> None:
        self.stream.write(b"{}\n" if self.between == "{\n" else b"}\n")


class XlsxBook(Workbook):
    """A sheet for each table."""

    def __init__(self, stream: Stream, zone: tzinfo) -> None:
        super().__init__(stream, zone)
        self.outlet = Outlet(stream)
        self.archive = zipfile.ZipFile(self.outlet, "w", zipfile.ZIP_DEFLATED)
        self.names: list[str] = []

    def table(self, name: str, columns: Sequence[Column]) -> Writer:
        self.names.append(name[:_MOST_NAME])
        return _Sheet(columns, self, len(self.names))

    def close(self) -> None:
        for path, text in self._parts():
            # Without the hour, so that the same rows are the same file.
            self.archive.writestr(zipfile.ZipInfo(path), HEAD + text, zipfile.ZIP_DEFLATED)
        self.archive.close()

    def abandon(self) -> None:
        self.outlet.stream = None
        self.archive.close()

    def _parts(self) -> Iterator[tuple[str, str]]:
        numbers = range(1, len(self.names) + 1)
        relation = f'<Relationship Id="rId{{}}" Type="{RELATED}/{{}}" Target="{{}}"/>'
        yield (
            "[Content_Types].xml",
            f'<Types xmlns="{PACKAGE}/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{KIND}.sheet.main+xml"/>'
            f'<Override PartName="/xl/styles.xml" ContentType="{KIND}.styles+xml"/>'
            + "".join(
                f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{KIND}.worksheet+xml"/>'
                for n in numbers
            )
            + "</Types>",
        )
        yield (
            "_rels/.rels",
            f'<Relationships xmlns="{PACKAGE}/relationships">'
            + relation.format(1, "officeDocument", "xl/workbook.xml")
            + "</Relationships>",
        )
        sheets = "".join(f'<sheet name="{self.names[n - 1]}" sheetId="{n}" r:id="rId{n}"/>' for n in numbers)
        yield "xl/workbook.xml", f'<workbook xmlns="{MAIN}" xmlns:r="{RELATED}"><sheets>{sheets}</sheets></workbook>'
        yield (
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{PACKAGE}/relationships">'
            + "".join(relation.format(n, "worksheet", f"worksheets/sheet{n}.xml") for n in numbers)
            + relation.format(len(self.names) + 1, "styles", "styles.xml")
            + "</Relationships>",
        )
        yield "xl/styles.xml", _styles()


def _styles() -> str:
    formats = "".join(f'<numFmt numFmtId="{number}" formatCode="{code}"/>' for number, code in _FORMATS.items())
    cells = "".join(
        f'<xf numFmtId="{number}" fontId="{font}" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"'
        f' applyFont="{font}"/>'
        for number, font in _CELLS
    )
    return (
        f'<styleSheet xmlns="{MAIN}"><numFmts count="{len(_FORMATS)}">{formats}</numFmts>'
        '<fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>'
        '<font><b/><sz val="11"/><name val="Calibri"/></font></fonts>'
        '<fills count="2"><fill><patternFill patternType="none"/></fill>'
        '<fill><patternFill patternType="gray125"/></fill></fills>'
        '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
        '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
        f'<cellXfs count="{len(_CELLS)}">{cells}</cellXfs>'
        '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
    )


class _Sheet(XlsxWriter):
    """One sheet of a workbook. Cells have the style of their column."""

    def __init__(self, columns: Sequence[Column], book: XlsxBook, number: int) -> None:
        self.columns = [column.name for column in columns]
        self.stream, self.outlet, self.archive = book.stream, book.outlet, book.archive
        self.zone = book.zone
        self.styles = [STYLES[column.kind] for column in columns]
        self.letters = [letters_of(place) for place in range(len(columns))]
        self.rows = self.size = 0
        self.sheet = self.archive.open(f"xl/worksheets/sheet{number}.xml", "w")
        self._begin()

    def close(self) -> None:
        self._end()

    def abandon(self) -> None:
        self.outlet.stream = None
        self.sheet.close()

    def _cell(self, place: int, cell: Any) -> str:
        if isinstance(cell, datetime):
            cell = (cell.astimezone(self.zone).replace(tzinfo=None) - _EPOCH).total_seconds() / 86_400
            return self._number(place, f"{cell:.10f}")
        if isinstance(cell, date):
            return self._number(place, str((cell - _EPOCH.date()).days))
        if isinstance(cell, bool) or not isinstance(cell, (int, float, Decimal)):
            return super()._cell(place, cell)
        if isinstance(cell, int):
            return self._number(place, str(cell))
        number = Decimal(repr(cell)) if isinstance(cell, float) else cell
        return self._number(place, f"{number:f}") if number.is_finite() else self._words(place, str(number), 3)

    def _number(self, place: int, text: str) -> str:
        return f'<c r="{self.letters[place]}{self.rows + 1}" s="{self.styles[place]}"><v>{text}</v></c>'


BOOKS: dict[str, type[Workbook]] = {"csv": CsvBook, "xlsx": XlsxBook, "json": JsonBook}
