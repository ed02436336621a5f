"""The first sheet of an XLSX file as a stream of rows.

Not openpyxl: its read-only mode keeps a dict for each row that has a height (LibreOffice gives every row one) and all
shared text in memory, and builds a whole row before anyone can refuse it. Here the XML goes through expat in blocks,
shared text waits in a temporary file, and the limits hold while reading.
"""

from __future__ import annotations

import posixpath
import re
import tempfile
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import IO, Any, BinaryIO
from xml.parsers import expat

from django_token_pricing.lib.rows import MOST_CHARACTERS, MOST_COLUMNS, Row, SheetError, gettext_noop

BLOCK = 1 << 16
MOST_UNPACKED = 2 << 30
# Deflate can reach 1,000; a sheet of numbers has 5 to 15, one of a single row repeated about 40.
MOST_RATIO = 250
ALWAYS_FINE = 10 << 20
MOST_TOKEN = 4 << 20
CACHED_TEXTS = 10_000

_DATE_NUMBERS = {*range(14, 23), *range(27, 37), 45, 46, 47, *range(50, 59)}
_NOT_DATE = re.compile(r'"[^"]*"|\[[^\]]*\]|[\\_*].')  # quoted text, colours and currencies, escapes, padding
_DATE = re.compile(r"[dmyhs]", re.IGNORECASE)
_LETTERS = re.compile(r"[A-Z]{1,3}")
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_EPOCH, _EPOCH_1904 = datetime(1899, 12, 30), datetime(1904, 1, 1)  # noqa: DTZ001 - a sheet knows no zones

Start = Callable[[str, "dict[str, str]"], None]
End = Callable[[str], None]
Text = Callable[[str], None]


@contextmanager
def first_sheet(file: BinaryIO) -> Iterator[tuple[Iterator[Row], Callable[[], float]]]:
    """Its rows from the top, and how much of it has been read. Raises SheetError, also while the rows are read."""
    with _damage():
        archive = zipfile.ZipFile(file)
    with archive, tempfile.TemporaryFile() as kept:
        with _damage():
            _refuse_bombs(archive)
            book = _Workbook(archive)
            texts = _Texts(archive, book.texts, kept)
            info = archive.getinfo(book.sheet)
            stream = archive.open(info)
        with stream:
            rows = _Rows(texts, book.date_styles, book.epoch).read(stream)
            yield rows, lambda: stream.tell() / max(info.file_size, 1)


@contextmanager
def _damage() -> Iterator[None]:
    """What libraries raise for a file that is broken, as an error of ours."""
    try:
        yield
    except SheetError:
        raise
    except (zipfile.BadZipFile, zlib.error, expat.ExpatError, EOFError, LookupError, ValueError, RuntimeError) as error:
        raise SheetError("damaged", gettext_noop("The file is damaged, or it is no Excel file.")) from error


def _refuse_bombs(archive: zipfile.ZipFile) -> None:
    """By what the headers say: of no part does zipfile read more than that."""
    parts = archive.infolist()
    unpacked = sum(part.file_size for part in parts)
    packed = sum(part.compress_size for part in parts)
    if unpacked > MOST_UNPACKED or (unpacked > ALWAYS_FINE and unpacked > packed * MOST_RATIO):
        raise SheetError(
            "unpacks_too_large",
            gettext_noop("The file would unpack to %(size)s MB, which is refused. Save it as CSV."),
            size=unpacked >> 20,
        )


def _walk(stream: IO[bytes], start: Start, end: End | None = None, text: Text | None = None) -> Iterator[None]:
    """Send a part through expat, pausing after each block. Names come without their prefix."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype

    def root(name: str, attributes: dict[str, str]) -> None:
        """Where the root has a prefix, all of the part's own names have it; else prefixed ones are of extensions."""
        prefix, _, local = name.rpartition(":")
        start(local, attributes)
        parser.StartElementHandler = start
        if prefix:
            parser.StartElementHandler = lambda name, attributes: start(name.rpartition(":")[2], attributes)
            if end:
                parser.EndElementHandler = lambda name: end(name.rpartition(":")[2])

    parser.StartElementHandler = root
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    fed = 0
    for block in iter(partial(stream.read, BLOCK), b""):
        parser.Parse(block, False)
        fed += len(block)
        if fed - parser.CurrentByteIndex > MOST_TOKEN:
            raise SheetError("damaged", gettext_noop("The file is damaged, or it is no Excel file."))
        yield
    parser.Parse(b"", True)
    yield


def _refuse_doctype(*_: Any) -> None:
    raise SheetError("unsafe", gettext_noop("The file declares XML entities, which no Excel file does."))


class _Workbook:
    """Where the first visible sheet, the shared texts and the styles are, and which styles are dates."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        ((path, _kind),) = [found for found in self._relations("").values() if found[1] == "officeDocument"]
        relations = self._relations(path)
        by_kind = {kind: target for target, kind in relations.values()}
        self.texts = by_kind.get("sharedStrings")
        self.epoch = _EPOCH
        self.date_styles: set[str] = set()
        sheets: list[tuple[bool, str]] = []

        def start(name: str, attributes: dict[str, str]) -> None:
            if name == "workbookPr" and attributes.get("date1904", "0").lower() in ("1", "true"):
                self.epoch = _EPOCH_1904
            elif name == "sheet":
                (relation,) = [value for key, value in attributes.items() if key.rpartition(":")[2] == "id"]
                target, kind = relations[relation]
                if kind == "worksheet":
                    sheets.append((attributes.get("state", "visible") != "visible", target))

        self._each(path, start)
        self.sheet = min(sheets, key=lambda sheet: sheet[0])[1]
        if "styles" in by_kind:
            self._find_date_styles(by_kind["styles"])

    def _each(self, path: str, start: Start) -> None:
        with self.archive.open(path) as stream:
            for _ in _walk(stream, start):
                pass

    def _relations(self, path: str) -> dict[str, tuple[str, str]]:
        """The part that each relation of a part leads to, and of what kind it is."""
        folder, name = posixpath.split(path)
        found: dict[str, tuple[str, str]] = {}

        def start(name: str, attributes: dict[str, str]) -> None:
            if name == "Relationship" and attributes.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, attributes["Target"]))
                found[attributes["Id"]] = target.lstrip("/"), attributes["Type"].rpartition("/")[2]

        self._each(posixpath.join(folder, "_rels", f"{name}.rels"), start)
        return found

    def _find_date_styles(self, path: str) -> None:
        dates = set(map(str, _DATE_NUMBERS))
        section = ""
        style = 0

        def start(name: str, attributes: dict[str, str]) -> None:
            nonlocal section, style
            if name == "numFmt":
                if _DATE.search(_NOT_DATE.sub("", attributes["formatCode"])):
                    dates.add(attributes["numFmtId"])
                else:
                    dates.discard(attributes["numFmtId"])
            elif name in ("cellStyleXfs", "cellXfs", "cellStyles", "dxfs"):
                section = name
            elif name == "xf" and section == "cellXfs":
                if attributes.get("numFmtId") in dates:
                    self.date_styles.add(str(style))
                style += 1

        self._each(path, start)


class _Texts:
    """The texts that cells share, by number: in a file, but for those met last."""

    def __init__(self, archive: zipfile.ZipFile, path: str | None, kept: IO[bytes]) -> None:
        self.kept = kept
        self.ends = array("Q", [0])
        self.cache: dict[int, str] = {}
        if path is None:
            return
        parts = _Parts()

        def start(name: str, _attributes: dict[str, str]) -> None:
            if name == "si":
                parts.clear()
            parts.open(name)

        def end(name: str) -> None:
            parts.close(name)
            if name == "si":
                self.ends.append(self.ends[-1] + kept.write(parts.joined().encode("utf-8", "surrogatepass")))

        with archive.open(path) as stream:
            for _ in _walk(stream, start, end, parts.add):
                pass

    def __getitem__(self, number: int) -> str:
        found = self.cache.get(number)
        if found is None:
            if number < 0:
                raise IndexError(number)
            begin, end = self.ends[number], self.ends[number + 1]
            self.kept.seek(begin)
            found = self.kept.read(end - begin).decode("utf-8", "surrogatepass")
            if len(self.cache) >= CACHED_TEXTS:
                self.cache.clear()
            self.cache[number] = found
        return found


class _Parts:
    """The text inside <t> and <v>, without that of phonetic readings (<rPh>)."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.size = 0
        self.wanted = self.phonetic = False

    def clear(self) -> None:
        self.parts.clear()
        self.size = 0

    def open(self, name: str) -> None:
        if name == "rPh":
            self.phonetic = True
        self.wanted = name in ("t", "v") and not self.phonetic

    def close(self, name: str) -> None:
        if name == "rPh":
            self.phonetic = False
        self.wanted = False

    def add(self, text: str) -> None:
        if self.wanted:
            self.size += len(text)
            if self.size > MOST_CHARACTERS:
                raise SheetError(
                    "too_long",
                    gettext_noop("A cell holds more than %(most)s characters."),
                    most=MOST_CHARACTERS,
                )
            self.parts.append(text)

    def joined(self) -> str:
        text = "".join(self.parts)
        return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


class _Rows:
    """Rows from the events of a sheet's XML. Cells that are not there or empty are None."""

    def __init__(self, texts: _Texts, date_styles: set[str], epoch: datetime) -> None:
        self.texts = texts
        self.date_styles = date_styles
        self.epoch = epoch
        self.parts = _Parts()
        self.ready: list[Row] = []
        self.number = 0
        self.column = -1
        self.letters: dict[str, int] = {}
        self.cells: list[Any] = []
        self.kind = self.style = ""
        self.size = 0
        self.too_wide = False

    def read(self, stream: IO[bytes]) -> Iterator[Row]:
        with _damage():
            for _ in _walk(stream, self.start, self.end, self.parts.add):
                yield from self.ready
                self.ready.clear()

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "c":
            reference = attributes.get("r")
            self.column = self._place(reference) if reference else self.column + 1
            self.kind = attributes.get("t", "n")
            self.style = attributes.get("s", "")
            self.parts.clear()
        elif name == "row":
            self.number = int(attributes.get("r", self.number + 1))
            self.column = -1
            self.cells = []
            self.size = 0
            self.too_wide = False
        else:
            self.parts.open(name)

    def end(self, name: str) -> None:
        if name == "c":
            if self.parts.parts and (value := self._value(self.parts.joined())) is not None:
                self._put(value)
        elif name == "row":
            problem = None
            if self.too_wide:
                problem = SheetError(
                    "too_many_columns", gettext_noop("There are more than %(most)s columns."), most=MOST_COLUMNS
                )
            if self.cells or problem:
                self.ready.append((self.number, self.cells, problem))
        else:
            self.parts.close(name)

    def _put(self, value: Any) -> None:
        self.size += self.parts.size
        if self.size > MOST_CHARACTERS:
            raise SheetError(
                "too_long",
                gettext_noop("The row on line %(line)s is longer than %(most)s characters."),
                line=self.number,
                most=MOST_CHARACTERS,
            )
        missing = self.column - len(self.cells)
        if self.column > MOST_COLUMNS:
            self.too_wide = True
        elif missing < 0:
            self.cells[self.column] = value
        else:
            self.cells.extend([None] * missing)
            self.cells.append(value)

    def _place(self, reference: str) -> int:
        """The column of “AB12”, from 0."""
        letters = reference.rstrip("0123456789")
        place = self.letters.get(letters)
        if place is None:
            if not _LETTERS.fullmatch(letters):
                raise ValueError(reference)
            place = -1
            for letter in letters:
                place = (place + 1) * 26 + ord(letter) - 65
            self.letters[letters] = place
        return place

    def _value(self, text: str) -> Any:
        kind = self.kind
        if kind == "s":
            return self.texts[int(text)] or None
        if kind == "b":
            return text.strip() in ("1", "true")
        if kind != "n":
            return text or None
        try:
            number = float(text) if "." in text or "e" in text or "E" in text else int(text)
        except ValueError:
            return text
        return self._moment(number) if self.style in self.date_styles else number

    def _moment(self, serial: float) -> Any:
        """A serial number as Excel shows it: to the millisecond; below a day, the time alone."""
        try:
            after = timedelta(milliseconds=round(serial * 86_400_000))
            if timedelta(0) <= after < timedelta(days=1):
                return (self.epoch + after).time()
            if self.epoch == _EPOCH and after < timedelta(days=60):
                after += timedelta(days=1)  # Excel thinks that 1900 had a 29th of February
            return self.epoch + after
        except (OverflowError, ValueError):
            return serial
