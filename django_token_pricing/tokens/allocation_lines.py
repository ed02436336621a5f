"""What a line of an import of allocations says: which column is what, and each cell as a checked value.

All cells of a line are checked, so that everything that is wrong with it is said at once. What a cell can be read as
does not depend on the cells before it, but for the decimal mark and the order of dates, which the whole file shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from decimal import Decimal
from functools import lru_cache, partial
from hashlib import blake2b
from typing import Any
from uuid import UUID

from django.utils.translation import gettext_noop

from django_token_pricing import jobs
from django_token_pricing.choices import Source
from django_token_pricing.exceptions import TokenPricingError
from django_token_pricing.lib import cells
from django_token_pricing.lib.rows import SheetError
from django_token_pricing.lib.sheets import unescaped
from django_token_pricing.lib.texts import is_storable
from django_token_pricing.models import DEFAULT_PRIORITY
from django_token_pricing.tokens import arguments
from django_token_pricing.tokens.allocation_columns import MOST_SHOWN, REQUIRED, Columns, shown, storable
from django_token_pricing.tokens.grants import Terms
from django_token_pricing.tokens.owner_names import Named

Problem = SheetError | TokenPricingError

MOST_REASON = 500
_FORMULA = ("=", "＝")
_CELL_ERRORS = {"#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#SPILL!", "#CALC!"}
_SOURCES = {word.casefold(): source.value for source in Source for word in (source.value, source.name)}


@dataclass(slots=True)
class Line:
    """A line of the file. What could not be read is as if it had not been given, and among the problems."""

    number: int
    cells: list[Any]
    problems: list[dict[str, Any]] = field(default_factory=list)
    name: str = ""
    amount: int = 0
    source: str = Source.IMPORT.value
    priority: int = DEFAULT_PRIORITY
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    reason: str = ""
    key: str = ""
    has_own_key: bool = True
    paid_amount: Decimal | None = None
    paid_currency: str = ""
    owner: Named | None = None
    digest: UUID | None = None
    # When the same was granted before, in this file or by a former one.
    same_as: str = ""

    def facts(self) -> bytes:
        """All that the line says of whom and what, but not under which key."""
        assert self.owner is not None  # noqa: S101 - asked only of lines with an owner
        whose = self.owner.owner
        facts = [
            f"pool {whose.pool}" if whose.pool is not None else f"user {whose.user}",
            self.amount,
            self.source,
            self.priority,
            self.starts_at or "",
            self.expires_at or "",
            plain(self.paid_amount),
            self.paid_currency,
            self.reason,
        ]
        return blake2b("\x1f".join(map(str, facts)).encode(), digest_size=20).digest()

    def values(self) -> dict[str, Any]:
        """As they are kept until they are granted; what is as usual is left out."""
        assert self.owner is not None  # noqa: S101 - asked only of lines with an owner
        whose = self.owner.owner
        kept: dict[str, Any] = {"pool": whose.pool} if whose.pool is not None else {"user": str(whose.user)}
        kept |= {"name": self.owner.name[:MOST_SHOWN], "amount": self.amount, "key": self.key, "source": self.source}
        if self.priority != DEFAULT_PRIORITY:
            kept["priority"] = self.priority
        if self.starts_at:
            kept["starts_at"] = self.starts_at.isoformat()
        if self.expires_at:
            kept["expires_at"] = self.expires_at.isoformat()
        if self.reason:
            kept["reason"] = self.reason
        if self.paid_amount is not None:
            kept["paid"] = [plain(self.paid_amount), self.paid_currency]
        if self.same_as:
            kept["same"] = self.same_as
        return kept


def plain(amount: Decimal | None) -> str:
    """The same text for 9.9 and 9.90."""
    return "" if amount is None else f"{amount.normalize():f}"


class LineReader:
    """Reads lines into checked values. `shows` is asked once, when a cell cannot be read alone: it gives the decimal
    mark and the order of dates that all of the file agrees on, or None for each.
    """

    def __init__(
        self,
        columns: Columns,
        *,
        zone: tzinfo,
        mark: str | None,
        order: Any,
        shows: Callable[[], tuple[str | None, Any]],
    ) -> None:
        self.columns = columns
        self.zone = zone
        self.mark = mark
        self.order = order
        self._shows: Callable[[], tuple[str | None, Any]] | None = shows
        parsers: dict[str, Callable[[Any], Any]] = {
            "owner": partial(self._text, most=None),
            "amount": self._amount,
            "source": _source,
            "priority": self._priority,
            "starts_at": lambda cell: arguments.start(self._day(cell)),
            "expires_at": lambda cell: arguments.expiry(self._day(cell)),
            "reason": partial(self._text, most=MOST_REASON),
            "key": _key,
            "paid_amount": self._paid,
            "paid_currency": lambda cell: cells.text(cell).upper(),
        }
        # Most columns have few different cells. Types count: 1, 1.0 and True are equal.
        self.readers = [
            (name, place, lru_cache(maxsize=5_000, typed=True)(partial(_tried, parsers[name])))
            for name, place in columns.places.items()
        ]
        self.last_place = max(columns.places.values())

    def read(self, number: int, row: list[Any], problem: SheetError | None) -> Line:
        line = Line(number, row)
        if problem is not None:
            line.problems.append(described("", None, problem))
            return line
        width = len(row)
        for name, place, read in self.readers:
            cell = row[place] if place < width else None
            value, error = (None, None) if cell is None or cell == "" else read(cell)
            if error is not None and self._shows and error.code in ("ambiguous_number", "ambiguous_date"):
                self._decide()
                value, error = read(cell)
            if error is not None:
                self.refuse(line, name, error)
            elif value is None:
                if name in REQUIRED:
                    self.refuse(line, name, SheetError("empty_cell", _EMPTY[name]))
            else:
                setattr(line, "name" if name == "owner" else name, value)
        self._check_together(line)
        return line

    def refuse(self, line: Line, name: str, error: Problem, *, first: bool = False) -> None:
        """Say what is wrong with that cell of the line."""
        place = self.columns.places.get(name, len(line.cells))
        cell = line.cells[place] if place < len(line.cells) else None
        line.problems.insert(0 if first else len(line.problems), described(self.columns.name(name), cell, error))

    def _decide(self) -> None:
        assert self._shows is not None  # noqa: S101 - asked once
        mark, order = self._shows()
        self._shows = None
        self.mark, self.order = self.mark or mark, self.order or order
        for _name, _place, read in self.readers:
            read.cache_clear()

    def _check_together(self, line: Line) -> None:
        starts, ends = line.starts_at, line.expires_at
        if starts is not None and ends is not None and ends <= starts:
            template = gettext_noop("The tokens would expire before they start. Write a later day, or leave it empty.")
            self.refuse(line, "expires_at", SheetError("expires_before_start", template))
        if line.paid_amount is not None:
            if not line.paid_currency:
                template = gettext_noop("Say in which currency it was paid, such as EUR, in a column “currency”.")
                self.refuse(line, "paid_amount", SheetError("currency_missing", template))
            else:
                _paid, error = _tried(arguments.paid, (line.paid_amount, line.paid_currency))
                if error is not None:
                    self.refuse(line, "paid_currency", error)
        elif line.paid_currency and not line.problems:
            template = gettext_noop("Say how much was paid, or leave the currency out.")
            self.refuse(line, "paid_currency", SheetError("paid_missing", template))

    # Cells

    def _amount(self, cell: Any) -> int:
        return arguments.amount(cells.whole(cell, mark=self.mark))

    def _priority(self, cell: Any) -> int:
        priority = cells.whole(cell, mark=self.mark)
        return Terms.of(1, source=Source.IMPORT, priority=priority).priority

    def _paid(self, cell: Any) -> Decimal:
        paid = cells.decimal(cell, mark=self.mark)
        arguments.paid((paid, "EUR"))
        return paid

    def _day(self, cell: Any) -> date | datetime:
        return cells.day(cell, zone=self.zone, order=self.order)

    def _text(self, cell: Any, *, most: int | None) -> str:
        written = cells.text(cell)
        if not is_storable(written):
            raise SheetError("nul", gettext_noop("The cell holds a character that cannot be stored."))
        if most is not None and len(written) > most:
            template = gettext_noop("The text has %(length)s characters; at most %(most)s are kept. Shorten it.")
            raise SheetError("too_long", template, length=len(written), most=most)
        return written


_ERRORS = (SheetError, TokenPricingError)
_EMPTY = {
    "owner": gettext_noop("It does not say whose the tokens are. Write an e-mail address, a login or a user's number."),
    "amount": gettext_noop("It does not say how many tokens. Write a whole number."),
}


def _tried(parse: Callable[[Any], Any], cell: Any) -> tuple[Any, Problem | None]:
    """What the cell says, None if nothing; or the error. So both are remembered."""
    try:
        if type(cell) is str:
            if cell.isspace():
                return None, None
            if cell[:1] == "'":
                cell = unescaped(cell)
            elif cell.lstrip()[:1] in _FORMULA:
                raise SheetError(
                    "formula", gettext_noop("This is a formula. Write what it comes to, as text or a number.")
                )
            elif cell.strip() in _CELL_ERRORS:
                raise SheetError(
                    "cell_error", gettext_noop("The spreadsheet could not work this cell out. Write its value.")
                )
        return parse(cell), None
    except _ERRORS as error:
        return None, error


def _source(cell: Any) -> str:
    written = cells.text(cell)
    found = _SOURCES.get(written.casefold()) or _LABELS().get(written.casefold())
    if found is None:
        raise SheetError(
            "unknown_source",
            gettext_noop("This is none of the sources. Write one of %(known)s, or leave it empty for “import”."),
            known=", ".join(Source.values),
        )
    return found


def _LABELS() -> dict[str, str]:  # noqa: N802
    """Sources by what they are called in the language of the site."""
    return {str(source.label).casefold(): source.value for source in Source}


def _key(cell: Any) -> str:
    return arguments.key(cells.text(cell))[0]


def past() -> SheetError:
    return SheetError(
        "expired",
        gettext_noop("This lies in the past: the tokens would expire at once. Write a later day, or leave it empty."),
    )


def described(column: str, cell: Any, error: Problem) -> dict[str, Any]:
    """What is wrong with a cell, as it is kept and can be shown in any language later."""
    if isinstance(error, SheetError):
        facts = {name: fact if isinstance(fact, int) else storable(str(fact)) for name, fact in error.facts.items()}
        found = {"code": error.code, "template": error.template, "facts": facts}
    else:
        found = jobs.described(error)
    return {"column": column, "cell": "" if cell is None else shown(cell), **found}


# What the whole file shows ------------------------------------------------------------------------------------------


class Evidence:
    """The decimal mark and the order of dates, from cells that can be read in one way only."""

    def __init__(self, columns: Columns, zone: tzinfo) -> None:
        self.numbers = [
            columns.places[name] for name in ("amount", "paid_amount", "priority") if name in columns.places
        ]
        self.days = [columns.places[name] for name in ("starts_at", "expires_at") if name in columns.places]
        self.marks: set[str] = set()
        self.orders: set[str] = set()
        self._mark = lru_cache(maxsize=5_000)(_mark_of)
        self._order = lru_cache(maxsize=5_000)(partial(_order_of, zone))

    def see(self, row: list[Any]) -> None:
        for places, only_way, found in ((self.numbers, self._mark, self.marks), (self.days, self._order, self.orders)):
            for place in places:
                cell = row[place] if place < len(row) else None
                if type(cell) is str and not cell.isdigit() and (way := only_way(cell)):
                    found.add(way)

    def agreed(self) -> tuple[str | None, Any]:
        mark = next(iter(self.marks)) if len(self.marks) == 1 else None
        return mark, next(iter(self.orders)) if len(self.orders) == 1 else None


def _mark_of(cell: str) -> str | None:
    return _only(lambda mark: cells.decimal(cell, mark=mark), ",.")


def _order_of(zone: tzinfo, cell: str) -> str | None:
    return _only(lambda order: cells.day(cell, zone=zone, order=order), ("dmy", "mdy"))


def _only(read: Callable[[Any], Any], ways: Sequence[str]) -> str | None:
    found = []
    for way in ways:
        try:
            read(way)
        except SheetError:
            continue
        found.append(way)
    return found[0] if len(found) == 1 else None
