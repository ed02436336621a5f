"""A chart with all that stands beside its drawing: the keys of its colours, and the table of the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from django_token_pricing.admin.base.charts.parts import Series
from django_token_pricing.admin.base.wording import NOTHING, decimal, number


@dataclass(frozen=True, slots=True)
class Key:
    """What a colour or a kind of line stands for; `series` is the place of the series that it shows and hides."""

    name: str
    css: str
    is_line: bool = False
    series: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: its heading for people, the same for machines, and its numbers as they are."""

    heading: str
    key: Any
    values: Sequence[Any]


def written(value: Any) -> str:
    """A number of a table as people read it."""
    if value is None:
        return NOTHING
    if isinstance(value, int):
        return number(value)
    return decimal(value) if isinstance(value, Decimal) else str(value)


@dataclass(frozen=True, slots=True)
class Table:
    """The numbers of a chart: `columns` are the headings, the first of which is that of the rows."""

    columns: Sequence[str]
    rows: Sequence[Row]
    words: Callable[[Any], str] = written

    @property
    def shown(self) -> Iterable[tuple[str, list[str]]]:
        return ((row.heading, [self.words(value) for value in row.values]) for row in self.rows)

    @property
    def plain(self) -> Iterable[list[Any]]:
        return ([row.key, *row.values] for row in self.rows)


@dataclass(frozen=True, slots=True)
class Chart:
    """`svg` is one of the drawings of this package. `about` is the line under the title: unit, period, zone."""

    title: str
    about: str
    svg: SafeString
    table: Table
    keys: Sequence[Key] = field(default_factory=list)
    # Whether names stand at the right of the drawing; its keys then show where it is narrow.
    is_direct: bool = False
    kind: str = ""

    @property
    def has_toggles(self) -> bool:
        return any(key.series is not None for key in self.keys)


def keys_of(series: Sequence[Series]) -> list[Key]:
    """In the order of the stack from the top, as names stand beside a chart."""
    found = [Key(one.name, one.css, series=place) for place, one in enumerate(series)]
    return found[::-1]


def forecast_keys(interval: str = "", *, with_back_test: bool = True) -> list[Key]:
    found = [Key(_("Measured"), "tp-line", is_line=True)]
    if with_back_test:
        found.append(Key(_("Back-test"), "tp-line tp-backtest", is_line=True))
    return [*found, Key(_("Forecast"), "tp-line tp-ahead", is_line=True), Key(interval or _("80% interval"), "tp-band")]
