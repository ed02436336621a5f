"""Brings usage in from a table: rows become uses, a chunk at a time; those that cannot are set aside with the reason.

Every row has a key, its own or one made from the source's name, the row as it stands and its ordinal among equal rows.
So nothing needs to remember how far a run came: running again books what is not there yet and nothing else.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from functools import partial
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from django.conf import settings
from django.db import reset_queries
from django.db.models import Model
from django.utils.translation import gettext, gettext_noop

from django_token_pricing import tokens
from django_token_pricing.exceptions import InsufficientTokens, TokenPricingError, UnsupportedIsolation
from django_token_pricing.lib import cells as lib_cells
from django_token_pricing.lib.ordinals import Ordinals
from django_token_pricing.lib.rows import Row, SheetError
from django_token_pricing.lib.sheets import Sheet, shown
from django_token_pricing.management.usage_owners import UsageOwners

FIELDS = (
    "used_at",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "amount",
    "provider",
    "model",
    "feature",
    "cost",
    "key",
    "owner",
)
# What may be mapped and yet be empty in a row.
OPTIONAL = set(FIELDS) - {"used_at", "amount", "key", "owner"}
# An account stays locked for a chunk of charged uses, so these are small.
CHARGED_CHUNK = 200
RECORDED_CHUNK = 10_000
ERROR_COLUMNS = ["line", "code", "reason"]


def reason(error: SheetError | TokenPricingError) -> str:
    """What was wrong, for people."""
    return gettext(error.template) % error.facts if isinstance(error, SheetError) else error.message


class ErrorFile:
    """The rows set aside, each with its line and the reason, beside their own columns; made when the first comes."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = columns
        self.file: TextIO | None = None

    def __enter__(self) -> ErrorFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.file:
            self.file.close()

    def add(self, line: int, code: str, why: str, row: Sequence[Any]) -> None:
        if self.file is None:
            # With a mark, so that Excel reads it as UTF-8.
            self.file = self.path.open("w", encoding="utf-8-sig", errors="backslashreplace", newline="")
            csv.writer(self.file).writerow([*ERROR_COLUMNS, *shown(self.columns)])
        csv.writer(self.file).writerow([line, code, *shown([why, *row])])

    def discard_stale(self) -> None:
        """Remove what an earlier run left, after one that set nothing aside."""
        if self.file is None and self.path.is_file():
            with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
                left_by_us = file.read(100).startswith(",".join(ERROR_COLUMNS))
            if left_by_us:
                self.path.unlink()


@dataclass(slots=True)
class Counts:
    """What came of the rows so far."""

    read: int = 0
    added: int = 0
    replayed: int = 0
    refused: int = 0
    short_of_tokens: int = 0


@dataclass(slots=True)
class Entry:
    """A row on its way."""

    row: Row
    use: tokens.Use


class UsageImport:
    """One run over an open sheet.

    `columns` says for each field which column it is; `mark` is the decimal mark, None to refuse what is ambiguous.
    """

    def __init__(
        self,
        sheet: Sheet,
        *,
        columns: dict[str, int],
        owners: UsageOwners,
        source: str,
        zone: tzinfo,
        mark: str | None,
        charge: bool,
        errors: ErrorFile,
        chunk: int | None = None,
    ) -> None:
        self.sheet = sheet
        self.owners = owners
        self.errors = errors
        self.counts = Counts()
        self.refused: list[tuple[Row, SheetError | TokenPricingError]] = []
        self.chunk = chunk or (CHARGED_CHUNK if charge else RECORDED_CHUNK)
        self.book = self._charge if charge else self._record
        self.key_column = columns.get("key")
        self.has_amount = "amount" in columns
        self.last_column = max(columns.values())
        self.digest = blake2b(source.encode("utf-8", "surrogateescape") + b"\0", digest_size=16)
        whole, decimal = partial(lib_cells.whole, mark=mark), partial(lib_cells.decimal, mark=mark)
        parsers: dict[str, Callable[[Any], Any]] = {
            "used_at": partial(lib_cells.moment, zone=zone),
            "input_tokens": whole,
            "output_tokens": whole,
            "cached_tokens": whole,
            "cache_write_tokens": whole,
            "reasoning_tokens": whole,
            "amount": whole,
            "provider": lib_cells.text,
            "model": lib_cells.text,
            "feature": lib_cells.text,
            "cost": decimal,
        }
        self.parsers = [(name, columns[name], parse) for name, parse in parsers.items() if name in columns]

    def run(self, told: Callable[[Counts], None] = lambda counts: None) -> Counts:
        """Book all rows; `told` hears of the counts after each chunk. Raises SheetError for what spoils the file."""
        spoiled: list[SheetError] = []
        with Ordinals() as ordinals:
            for rows in self._chunks(spoiled):
                self.book(self._entries(rows, ordinals))
                self.counts.read += len(rows)
                self._set_aside()
                if settings.DEBUG:
                    reset_queries()  # Django keeps the last 9,000, and these are long
                told(self.counts)
        if spoiled:
            raise spoiled[0]
        return self.counts

    def _chunks(self, spoiled: list[SheetError]) -> Iterator[list[Row]]:
        """Rows in chunks; the last ends where the file does, or cannot be read any further."""
        rows: list[Row] = []
        try:
            for row in self.sheet.rows:
                rows.append(row)
                if len(rows) == self.chunk:
                    yield rows
                    rows = []
        except SheetError as error:
            spoiled.append(error)
        if rows:
            yield rows

    def _entries(self, rows: list[Row], ordinals: Ordinals) -> list[Entry]:
        good = []
        for row in rows:
            if row[2] is None:
                good.append(row)
            else:
                self._refuse(row, row[2])
        keys = self._keys(good, ordinals)
        place = self.owners.column
        names = [] if place is None else _column(good, place)
        owners = self.owners.of(keys, names)
        entries = map(self._entry, good, keys, owners)
        return [entry for entry in entries if entry is not None]

    def _keys(self, rows: list[Row], ordinals: Ordinals) -> list[str]:
        """A row counts as it stands, whatever is mapped, and also if it is refused later: so its key stays the same."""
        if self.key_column is not None:
            return _column(rows, self.key_column)
        digests = []
        for _line, cells, _problem in rows:
            digest = self.digest.copy()
            digest.update(_as_it_stands(cells).encode("utf-8", "surrogatepass"))
            digests.append(digest.digest())
        counted = ordinals.of([int.from_bytes(digest[:8], "big", signed=True) for digest in digests])
        return [
            f"import:{digest.hex()}" if ordinal == 1 else f"import:{digest.hex()}:{ordinal}"
            for digest, ordinal in zip(digests, counted, strict=True)
        ]

    def _entry(self, row: Row, key: str, owner: Model | SheetError) -> Entry | None:
        try:
            if isinstance(owner, SheetError):
                raise owner
            return Entry(row, self._use(row[1], key, owner))
        except (SheetError, TokenPricingError) as error:
            self._refuse(row, error)
            return None

    def _use(self, cells: list[Any], key: str, owner: Model) -> tokens.Use:
        if len(cells) <= self.last_column:
            raise SheetError("short_row", gettext_noop("The row ends before the last of the columns that are used."))
        facts: dict[str, Any] = {}
        for name, place, parse in self.parsers:
            cell = cells[place]
            if cell is None or (type(cell) is str and (not cell or cell.isspace())):
                if name in OPTIONAL:
                    continue
                raise _empty(name)
            facts[name] = parse(cell)
        if not key:
            raise _empty("key")
        return tokens.Use(owner, self._amount(facts), key=key, **facts)

    def _amount(self, facts: dict[str, Any]) -> int:
        if self.has_amount:
            amount: int = facts.pop("amount")
            return amount
        used, made = facts.get("input_tokens"), facts.get("output_tokens")
        if used is None and made is None:
            raise SheetError("no_amount", gettext_noop("The row says nothing of tokens."))
        return (used or 0) + (made or 0)

    def _record(self, entries: list[Entry]) -> None:
        """All at once; where one is refused, by halves, until it stands alone."""
        if not entries:
            return
        try:
            done = tokens.record_many(entry.use for entry in entries)
        except UnsupportedIsolation:
            raise
        except TokenPricingError as error:
            if len(entries) == 1:
                self._refuse(entries[0].row, error)
                return
            half = len(entries) // 2
            self._record(entries[:half])
            self._record(entries[half:])
        else:
            self.counts.added += done.recorded
            self.counts.replayed += done.replayed

    def _charge(self, entries: list[Entry]) -> None:
        """All at once; where one is refused, one by one."""
        try:
            done = tokens.consume_many([entry.use for entry in entries])
        except UnsupportedIsolation:
            raise
        except TokenPricingError:
            for entry in entries:
                self._charge_alone(entry)
        else:
            replayed = sum(result.replayed for result in done)
            self.counts.replayed += replayed
            self.counts.added += len(done) - replayed

    def _charge_alone(self, entry: Entry) -> None:
        use = entry.use
        try:
            done = tokens.consume(use.subject, use.amount, key=use.key, **use.usage.given())
        except UnsupportedIsolation:
            raise
        except TokenPricingError as error:
            self._refuse(entry.row, error)
        else:
            self.counts.replayed += done.replayed
            self.counts.added += not done.replayed

    def _refuse(self, row: Row, error: SheetError | TokenPricingError) -> None:
        self.counts.refused += 1
        self.counts.short_of_tokens += isinstance(error, InsufficientTokens)
        self.refused.append((row, error))

    def _set_aside(self) -> None:
        for (line, cells, _problem), error in sorted(self.refused, key=lambda pair: pair[0][0]):
            self.errors.add(line, error.code, reason(error), cells)
        self.refused.clear()


def _column(rows: list[Row], place: int) -> list[str]:
    return [lib_cells.text(cells[place]) if place < len(cells) else "" for _line, cells, _problem in rows]


def _as_it_stands(cells: list[Any]) -> str:
    """The row as one text. Empty cells at its end do not count: programs add and drop them."""
    try:
        text = "\x1f".join(cells)
    except TypeError:
        text = "\x1f".join(map(lib_cells.text, cells))
    return text.rstrip("\x1f")


def _empty(field: str) -> SheetError:
    return SheetError("empty_cell", gettext_noop("%(field)s is empty."), field=field)
