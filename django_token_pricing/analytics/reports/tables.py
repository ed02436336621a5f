"""What a report is made of: terms that say what is asked for, and tables whose rows are read as they are written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, ClassVar

from django.db.models import QuerySet

from django_token_pricing.analytics.periods import ALL, Period, Slice
from django_token_pricing.lib.workbooks import Column

# Rows that are in memory at once.
PAGE = 2_000


@dataclass(frozen=True, slots=True)
class Terms:
    """What somebody asked for. `group` is one of the report's groupings; without `with_costs` no table has money."""

    report: str
    period: Period
    only: Slice = ALL
    group: str = ""
    with_costs: bool = False

    def stored(self) -> dict[str, Any]:
        """As JSON keeps them."""
        days = {"first": self.period.first.isoformat(), "until": self.period.until.isoformat()}
        names = {name: list(values) for name, values in asdict(self.only).items() if values}
        return {"report": self.report, **days, **names, "group": self.group, "with_costs": self.with_costs}

    @classmethod
    def restored(cls, stored: Mapping[str, Any]) -> Terms:
        period = Period(date.fromisoformat(stored["first"]), date.fromisoformat(stored["until"]))
        only = Slice(**{name: tuple(stored.get(name, ())) for name in ("tiers", "models", "features")})
        return cls(stored["report"], period, only, stored["group"], stored["with_costs"])


@dataclass(frozen=True, slots=True)
class Money(Column):
    """A column that is there only for who may see costs."""


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` reads anew each time; `count` tells how many there are, and reads no more than one more than `most`."""

    name: str
    columns: Sequence[Column]
    rows: Callable[[], Iterator[Sequence[Any]]]
    count: Callable[[int], int]

    def without_money(self) -> Table:
        kept = [place for place, column in enumerate(self.columns) if not isinstance(column, Money)]

        def rows() -> Iterator[Sequence[Any]]:
            return ([row[place] for place in kept] for row in self.rows())

        return Table(self.name, [self.columns[place] for place in kept], rows, self.count)


class Report(ABC):
    """One kind of report. Its name and those of its tables and columns are for machines, and do not change."""

    name: ClassVar[str]
    title: ClassVar[Any]
    # What it can be grouped by, the first one first: (name, text).
    groups: ClassVar[Sequence[tuple[str, Any]]] = ()
    # Whether all of it is about money.
    is_money: ClassVar[bool] = False
    # Whether its days lie ahead.
    is_ahead: ClassVar[bool] = False
    # Of what models, features and tiers it can be, by the names of `Slice`.
    dimensions: ClassVar[Sequence[str]] = ("tiers", "models", "features")

    @abstractmethod
    def all_tables(self, terms: Terms) -> list[Table]:
        """The main one first: of several tables CSV holds this one."""

    def takes(self, group: str) -> Sequence[str]:
        """Its dimensions in this grouping."""
        return self.dimensions

    def tables(self, terms: Terms) -> list[Table]:
        found = self.all_tables(terms)
        return found if terms.with_costs else [table.without_money() for table in found]


def of_rows(
    name: str, columns: Sequence[Column], rows: QuerySet[Any], *order: str, keys: Mapping[str, str] | None = None
) -> Table:
    """A table of the rows of a query for values, which are called like the columns, or as `keys` say.

    It is read in the order given, a page at a time; where a page ends is found by the first of it, so few rows may have
    the same value there.
    """
    names = [(keys or {}).get(column.name, column.name) for column in columns]

    def read() -> Iterator[Sequence[Any]]:
        return ([row[name] for name in names] for row in paged(rows, *order))

    return Table(name, columns, read, lambda most: rows.order_by()[: most + 1].count())


def of_lines(name: str, columns: Sequence[Column], read: Callable[[], Sequence[Sequence[Any]]]) -> Table:
    """A table so small that it is made at once."""
    found: list[Sequence[Sequence[Any]]] = []

    def lines() -> Sequence[Sequence[Any]]:
        if not found:
            found.append(read())
        return found[0]

    return Table(name, columns, lambda: iter(lines()), lambda most: len(lines()))


def paged(rows: QuerySet[Any], first: str, *rest: str) -> Iterator[dict[str, Any]]:
    """All rows of a query for values. A driver that fetches whole results has no more than a page of them."""
    last: Any = None
    seen = 0
    while True:
        later = rows if last is None else rows.filter(**{f"{first}__gte": last})
        page = list(later.order_by(first, *rest)[seen : seen + PAGE])
        yield from page
        if len(page) < PAGE:
            return
        end = page[-1][first]
        same = sum(row[first] == end for row in page)
        seen = seen + same if end == last else same
        last = end
