"""Tables as people save them, read as a stream of rows in flat memory: CSV in all its dialects, and XLSX.

A row that cannot be trusted comes with the reason, and the ones after it are read on; what spoils the whole file
raises. Nothing is guessed from a file's name, and nothing in a file makes memory grow.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any, BinaryIO

from django_token_pricing.lib.rows import MOST_CHARACTERS, MOST_COLUMNS, Row, SheetError, gettext_noop
from django_token_pricing.lib.xlsx import first_sheet

SAMPLE = 1 << 16
BLOCK = 1 << 20
DELIMITERS = "\t;|,"  # of those that would do the first is taken: a comma may belong to text or numbers

_BOMS = [  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]
_ZIP, _OLD_EXCEL = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_NUL_SHOWN = "\N{SYMBOL FOR NULL}"  # csv refuses NUL on Python 3.10
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?[\d.,' ]*\d(?:[eE][+-]?\d+)?")


@dataclass(slots=True)
class Dialect:
    """How a file is written: "csv" or "xlsx"; of CSV in which encoding, and what stands between its cells."""

    form: str
    encoding: str = ""
    delimiter: str = ""


@dataclass(slots=True)
class Sheet:
    """An open table. Cells of CSV are text as it stands; those of XLSX have types, and None for empty."""

    columns: list[str]
    rows: Iterator[Row]
    read_share: Callable[[], float]
    dialect: Dialect

    def place(self, name: str) -> int:
        """Where the column stands. Its name is found as it is, else whatever its case and spaces are."""
        for form in (str, _folded):
            places = [place for place, column in enumerate(self.columns) if form(column) == form(name)]
            if len(places) == 1:
                return places[0]
            if places:
                raise SheetError(
                    "duplicate_column", gettext_noop("The column “%(column)s” is there more than once."), column=name
                )
        raise SheetError(
            "missing_column",
            gettext_noop("There is no column “%(column)s”. There are: %(columns)s."),
            column=name,
            columns=", ".join(f"“{column}”" for column in self.columns[:20]) + ("…" if len(self.columns) > 20 else ""),
        )


def _folded(name: str) -> str:
    return "".join(name.split()).casefold()


@contextmanager
def open_sheet(source: str | PathLike[str] | BinaryIO) -> Iterator[Sheet]:
    """The table in a file, given by its path or opened for reading bytes; of XLSX the first sheet.

    Raises SheetError, also while the rows are read: what came before it can be trusted.
    """
    if isinstance(source, (str, PathLike)):
        with open(source, "rb") as file, open_sheet(file) as sheet:
            yield sheet
        return
    source.seek(0)
    start = source.read(4)
    source.seek(0)
    if start == _OLD_EXCEL:
        raise SheetError(
            "old_excel",
            gettext_noop("This is an old Excel file, or one with a password. Save it as .xlsx without one, or as CSV."),
        )
    if start == _ZIP:
        with first_sheet(source) as (raw, read_share):
            yield _sheet(raw, read_share, Dialect("xlsx"))
        return
    size = source.seek(0, io.SEEK_END)
    source.seek(0)
    encoding = _encoding(source)
    source.seek(0)
    text = io.TextIOWrapper(source, encoding=encoding, newline="")
    dialect = Dialect("csv", encoding)
    try:
        yield _sheet(_csv_rows(text, dialect), lambda: source.tell() / size if size else 1.0, dialect)
    finally:
        text.detach()


def _sheet(raw: Iterator[Row], read_share: Callable[[], float], dialect: Dialect) -> Sheet:
    """Take the first row that is not empty for the header."""
    for _line, cells, problem in raw:
        if problem:
            raise problem
        columns = ["" if cell is None else str(cell).strip() for cell in cells]
        while columns and not columns[-1]:
            columns.pop()
        if len(columns) > MOST_COLUMNS:
            break
        if columns:
            rows = _rows(raw, len(columns), padded=dialect.form == "xlsx")
            return Sheet(columns, rows, read_share, dialect)
    else:
        raise SheetError("empty", gettext_noop("The file is empty."))
    raise SheetError("too_many_columns", gettext_noop("There are more than %(most)s columns."), most=MOST_COLUMNS)


def _rows(raw: Iterator[Row], width: int, *, padded: bool) -> Iterator[Row]:
    """Rows with something in them. XLSX does not store what is empty at the end of a row; in CSV a short row is one."""
    for row in raw:
        _line, cells, problem = row
        if problem is None:
            if not any(cells) and not any(cell not in (None, "") for cell in cells):
                continue
            if len(cells) > width:
                if any(cell not in (None, "") for cell in cells[width:]):
                    problem = SheetError(
                        "too_many_cells",
                        gettext_noop("The row has %(cells)s cells, but there are %(columns)s columns."),
                        cells=len(cells),
                        columns=width,
                    )
                    yield row[0], cells, problem
                    continue
                del cells[width:]
            elif padded and len(cells) < width:
                cells.extend([None] * (width - len(cells)))
            if not padded and not any(map(str.strip, cells)):
                continue
        yield row


def _encoding(file: BinaryIO) -> str:
    """By its mark, else UTF-8 if all of the file is, else Windows-1252, which Excel writes in the west."""
    sample = file.read(SAMPLE)
    for mark, encoding in _BOMS:
        if sample.startswith(mark):
            return encoding
    halves = sample[0::2].count(0), sample[1::2].count(0)
    if max(halves) > len(sample) // 8 and min(halves) < max(halves) // 8:
        return "utf-16-be" if halves[0] > halves[1] else "utf-16-le"
    decoder = codecs.getincrementaldecoder("utf-8")()
    block = sample
    try:
        while block:
            decoder.decode(block)
            block = file.read(BLOCK)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _csv_rows(text: io.TextIOWrapper, dialect: Dialect) -> Iterator[Row]:
    try:
        sample = text.read(SAMPLE)
        text.seek(0)
        first = _SEPARATOR_LINE.fullmatch(sample.partition("\n")[0])
        lines = _Lines(text)
        if first:
            next(lines)
        dialect.delimiter = first[1] if first else _delimiter(sample)
        reader = csv.reader(lines, delimiter=dialect.delimiter)
        for cells in reader:
            problem = lines.problem()
            yield lines.started, cells, problem
            lines.next_row()
    except UnicodeError as error:
        raise SheetError(
            "encoding",
            gettext_noop("The text cannot be read as %(encoding)s. Save the file as UTF-8."),
            encoding=dialect.encoding,
        ) from error
    except csv.Error as error:  # the one left to it is a cell beyond the process's csv.field_size_limit
        raise _too_long(lines.started, csv.field_size_limit()) from error


class _Lines:
    """Feeds csv line by line, and watches: how much one row takes, NUL, and a quote that is never closed."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self.line = 0
        self.started = 1
        self.taken = 0
        self.has_nul = self.ended = False
        self._read = partial(text.readline, MOST_CHARACTERS + 1)

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._read()
        if not line:
            self.ended = True
            raise StopIteration
        self.line += 1
        self.taken += len(line)
        if self.taken > MOST_CHARACTERS:
            raise _too_long(self.started, MOST_CHARACTERS)
        if "\0" in line:
            self.has_nul = True
            return line.replace("\0", _NUL_SHOWN)
        return line

    def problem(self) -> SheetError | None:
        if self.ended:  # csv asked for more before it gave this row
            return SheetError("unclosed_quote", gettext_noop("A quotation mark is opened here and never closed."))
        if self.has_nul:
            return SheetError("nul", gettext_noop("The row holds a NUL character."))
        return None

    def next_row(self) -> None:
        self.taken = 0
        self.has_nul = False
        self.started = self.line + 1


def _too_long(line: int, most: int) -> SheetError:
    return SheetError(
        "too_long",
        gettext_noop("The row on line %(line)s is longer than %(most)s characters; is a quotation mark left open?"),
        line=line,
        most=most,
    )


def _delimiter(sample: str) -> str:
    """What splits most of the first rows into as many cells as the header has."""
    best, delimiter = (0, 0), ","
    for candidate in DELIMITERS:
        try:
            rows = list(csv.reader(io.StringIO(sample.replace("\0", _NUL_SHOWN), newline=""), delimiter=candidate))
        except csv.Error:
            continue
        rows = [row for row in rows[:20] if any(row)]
        width = len(rows[0]) if rows else 1
        fitting = sum(len(row) == width for row in rows)
        if width > 1 and (fitting, width) > best:
            best, delimiter = (fitting, width), candidate
    return delimiter


def formula_safe(cell: Any) -> Any:
    """The cell as a spreadsheet will show it: text that it would run as a formula is quoted, numbers are left alone.

    Text that looks quoted already is quoted once more, so that `unescaped` gives back any text as it was.
    """
    return f"'{cell}" if isinstance(cell, str) and _runs(cell) else cell


def unescaped(cell: Any) -> Any:
    """The cell as it was before `formula_safe`."""
    return cell[1:] if isinstance(cell, str) and cell[:1] == "'" and _runs(cell) else cell


def _runs(text: str) -> bool:
    """Whether a spreadsheet would run it as a formula, were it not for the quotes before it."""
    text = text.lstrip("'")
    if text.startswith(("\t", "\r", "\n")):
        return True
    text = text.lstrip()
    return text.startswith(_FORMULA) and not _NUMBER.fullmatch(text)


def shown(cells: Sequence[Any]) -> list[str]:
    """Cells as text for people, safe to open in a spreadsheet."""
    return [str(formula_safe("" if cell is None else str(cell))) for cell in cells]
