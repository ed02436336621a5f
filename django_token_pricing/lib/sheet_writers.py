"""Tables written as people open them, row by row in flat memory: CSV, XLSX and JSON.

What is written comes back as it was: moments are ISO 8601 with offset and microseconds, numbers are exact, and text
that a spreadsheet would run is quoted in a way that `lib.sheets.unescaped` takes back.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from types import TracebackType
from typing import Any, Protocol
from xml.sax.saxutils import escape

from django_token_pricing.lib.rows import SheetError, gettext_noop
from django_token_pricing.lib.sheets import formula_safe

# Rows whose text is in memory at once.
BATCH = 500

# What Excel can hold. A longer cell makes it call the file damaged, and it rounds what has more digits.
MOST_ROWS = 1_048_575
MOST_CELL = 32_767
MOST_DIGITS = 15
# A zip that is written without going back has small headers, which end here; our own reader takes no more either.
MOST_SHEET = (2 << 30) - (1 << 20)

_FORBIDDEN = "\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff"
# What XML cannot hold, and what would be taken for such an escape when it is read.
_TO_ESCAPE = re.compile(f"[{_FORBIDDEN}]|_(?=x[0-9A-Fa-f]{{4}}[_{_FORBIDDEN}])")

HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
RELATED = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
KIND = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_SHEET = "xl/worksheets/sheet1.xml"
_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{KIND}.sheet.main+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{KIND}.styles+xml"/>'
    f'<Override PartName="/{_SHEET}" ContentType="{KIND}.worksheet+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{RELATED}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{RELATED}">'
    '<sheets><sheet name="Rows" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{RELATED}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{RELATED}/styles" Target="styles.xml"/></Relationships>',
    # Style 1 shows all digits of a whole number, 2 is bold, 3 is text: what people add to such a cell stays text.
    "xl/styles.xml": f'<styleSheet xmlns="{MAIN}">'
    '<fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>'
    '<font><b/><sz val="11"/><name val="Calibri"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill>'
    '<fill><patternFill patternType="gray125"/></fill></fills>'
    '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
    '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
    '<cellXfs count="4"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>'
    '<xf numFmtId="1" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>'
    '<xf numFmtId="0" fontId="1" fillId="0" borderId="0" xfId="0" applyFont="1"/>'
    '<xf numFmtId="49" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/></cellXfs>'
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>',
}


class Stream(Protocol):
    """Where a file goes; it is never asked to go back."""

    def write(self, content: bytes, /) -> Any: ...


class Writer(ABC):
    """Writes one table. `close` completes it and leaves the stream open; as a context manager it closes itself, but
    not after an error: what was written then is no file.

    Cells are text, whole numbers, Decimal, float, bool, dates, aware moments, or None.
    """

    def __init__(self, columns: Sequence[str], stream: Stream) -> None:
        self.columns = list(columns)
        self.stream = stream

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """Raises SheetError for what this format cannot hold."""
        for batch in _batches(rows):
            self._send(self._text(batch))

    @abstractmethod
    def close(self) -> None:
        """Write what ends the file."""

    def abandon(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Give up."""

    @abstractmethod
    def _text(self, rows: Sequence[Sequence[Any]]) -> str: ...

    def _send(self, text: str) -> None:
        # Half of a surrogate pair, which no encoding has, is shown as its number; in JSON that is its very escape.
        self.stream.write(text.encode("utf-8", "backslashreplace"))


def _batches(rows: Iterable[Sequence[Any]]) -> Iterator[Sequence[Sequence[Any]]]:
    left = iter(rows)
    while batch := list(islice(left, BATCH)):
        yield batch


class CsvWriter(Writer):
    """In UTF-8 with its mark, by which Excel knows it; commas, lines as RFC 4180 has them."""

    def __init__(self, columns: Sequence[str], stream: Stream) -> None:
        super().__init__(columns, stream)
        self._send("\ufeff" + self._text([self.columns]))

    def close(self) -> None:
        """There is no end to write."""

    def _text(self, rows: Sequence[Sequence[Any]]) -> str:
        text = io.StringIO(newline="")
        csv.writer(text).writerows([_plain(cell) for cell in row] for row in rows)
        return text.getvalue()


def _plain(cell: Any) -> Any:
    if isinstance(cell, str):
        return formula_safe(cell)
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    return _iso(cell) if isinstance(cell, date) else format(cell, "f") if isinstance(cell, Decimal) else cell


def _iso(cell: date) -> str:
    return cell.isoformat(timespec="microseconds") if isinstance(cell, datetime) else cell.isoformat()


class JsonWriter(Writer):
    """An array of objects, a line each. Decimal numbers are text, which no reader rounds."""

    def __init__(self, columns: Sequence[str], stream: Stream) -> None:
        super().__init__(columns, stream)
        self.between = "[\n"

    def close(self) -> None:
        self._send("[]\n" if self.between == "[\n" else "\n]\n")

    def _text(self, rows: Sequence[Sequence[Any]]) -> str:
        objects = (dict(zip(self.columns, row, strict=True)) for row in rows)
        lines = [json.dumps(row, ensure_ascii=False, default=_json) for row in objects]
        text = self.between + ",\n".join(lines)
        self.between = ",\n"
        return text


def _json(cell: Any) -> str:
    return _iso(cell) if isinstance(cell, date) else format(cell, "f")


class XlsxWriter(Writer):
    """A workbook of one sheet. Written here because openpyxl takes several times as long.

    Text is text, so no formula runs. Whole numbers that Excel would round, and moments, which it keeps to the
    millisecond and without a zone, are text as well.
    """

    def __init__(self, columns: Sequence[str], stream: Stream) -> None:
        super().__init__(columns, stream)
        self.outlet = Outlet(stream)
        self.letters = [letters_of(place) for place in range(len(self.columns))]
        self.rows = self.size = 0
        self.archive = zipfile.ZipFile(self.outlet, "w", zipfile.ZIP_DEFLATED)
        for path, text in _PARTS.items():
            # Without the hour, so that the same rows are the same file.
            self.archive.writestr(zipfile.ZipInfo(path), HEAD + text, zipfile.ZIP_DEFLATED)
        self.sheet = self.archive.open(_SHEET, "w")
        self._begin()

    def _begin(self) -> None:
        self._send(
            f'{HEAD}<worksheet xmlns="{MAIN}"><sheetViews><sheetView workbookViewId="0">'
            '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews>'
            f'<cols><col min="1" max="{len(self.columns)}" width="18" customWidth="1"/></cols><sheetData><row r="1">'
            + "".join(self._words(place, name, 2) for place, name in enumerate(self.columns))
            + "</row>"
        )

    def _end(self) -> None:
        self._send("</sheetData></worksheet>")
        self.sheet.close()

    def close(self) -> None:
        self._end()
        self.archive.close()

    def abandon(self) -> None:
        self.outlet.stream = None
        self.sheet.close()
        self.archive.close()

    def _text(self, rows: Sequence[Sequence[Any]]) -> str:
        if self.rows + len(rows) > MOST_ROWS:
            raise SheetError(
                "too_many_rows",
                gettext_noop("Excel takes %(most)s rows, and these are more. Choose CSV, or fewer rows."),
                most=MOST_ROWS,
            )
        return "".join(map(self._row, rows))

    def _row(self, row: Sequence[Any]) -> str:
        self.rows += 1
        cells = "".join([self._cell(place, cell) for place, cell in enumerate(row) if cell is not None])
        return f'<row r="{self.rows + 1}">{cells}</row>'

    def _cell(self, place: int, cell: Any) -> str:
        at = f'<c r="{self.letters[place]}{self.rows + 1}"'
        if isinstance(cell, str):
            return self._words(place, cell, 3) if cell else ""
        if isinstance(cell, bool):
            return f'{at} t="b"><v>{int(cell)}</v></c>'
        if isinstance(cell, int):
            if abs(cell) < 10**MOST_DIGITS:
                return f'{at} s="1"><v>{cell}</v></c>'
        elif isinstance(cell, (Decimal, float)):
            number = Decimal(repr(cell)) if isinstance(cell, float) else cell
            if number.is_finite() and len(number.normalize().as_tuple().digits) <= MOST_DIGITS:
                return f"{at}><v>{number:f}</v></c>"
        return self._words(place, str(_plain(cell)), 3)

    def _words(self, place: int, text: str, style: int) -> str:
        text = formula_safe(text)
        if len(text) > MOST_CELL // 2 and len(text.encode("utf-16-le", "surrogatepass")) // 2 > MOST_CELL:
            raise SheetError(
                "too_long",
                gettext_noop("Excel takes %(most)s characters in a cell, and a cell has more. Choose CSV."),
                most=MOST_CELL,
            )
        text = escape(_TO_ESCAPE.sub(lambda found: f"_x{ord(found[0]):04X}_", text))
        at = f"{self.letters[place]}{self.rows + 1}"
        return f'<c r="{at}" s="{style}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'

    def _send(self, text: str) -> None:
        content = text.encode()
        self.size += len(content)
        if self.size > MOST_SHEET:
            raise SheetError("too_large", gettext_noop("The rows are too much for an Excel file. Choose CSV."))
        self.sheet.write(content)


class Outlet:
    """The stream as zipfile sees it: it only goes on. One that was let go of swallows the rest."""

    def __init__(self, stream: Stream) -> None:
        self.stream: Stream | None = stream

    def write(self, content: bytes) -> int:
        if self.stream is not None:
            self.stream.write(content)
        return len(content)

    def flush(self) -> None:
        """Whoever owns the stream does."""

    def close(self) -> None:
        """The same."""


def letters_of(place: int) -> str:
    """The name of a column, from 0: A to Z, AA, AB."""
    place, last = divmod(place, 26)
    return (letters_of(place - 1) if place else "") + chr(65 + last)


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file, and what the web calls it."""

    name: str
    writer: type[Writer]
    content_type: str
    extension: str


FORMATS = {
    "csv": Format("CSV", CsvWriter, "text/csv; charset=utf-8", "csv"),
    "xlsx": Format("XLSX", XlsxWriter, f"{KIND}.sheet", "xlsx"),
    "json": Format("JSON", JsonWriter, "application/json", "json"),
}
