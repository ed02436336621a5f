"""Prove that the roll-ups equal the rows, or make them anew from the rows, by whole months."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db import connections
from django.db.models import Exists, OuterRef, Q

from django_token_pricing.analytics.periods import zone
from django_token_pricing.analytics.rollups import portable, postgresql, state
from django_token_pricing.analytics.rollups.folding import colour
from django_token_pricing.analytics.rollups.targets import TARGETS, Target
from django_token_pricing.choices import FoldKind
from django_token_pricing.lib.periods import start_of_day
from django_token_pricing.models import FoldQueue, LedgerEntry, RollupState, TokenUsageLog

# Of each roll-up; who has more has another problem than finding them.
MOST_NAMED = 100
READ = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RollupDifference:
    """A row of a roll-up that is not what the rows of usage or ledger add up to; None for a row that is not there."""

    table: str
    key: dict[str, Any]
    rolled: dict[str, Any] | None
    rows: dict[str, Any] | None

    def __str__(self) -> str:
        where = ", ".join(f"{name} {value}" for name, value in self.key.items())
        if self.rolled is None or self.rows is None:
            return f"{self.table} ({where}): {self.rolled or 'nothing'} instead of {self.rows or 'nothing'}"
        odd = [
            f"{name} {self.rolled[name]} instead of {self.rows[name]}"
            for name in self.rows
            if self.rolled[name] != self.rows[name]
        ]
        return f"{self.table} ({where}): {', '.join(odd)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """From which month on, and how many rows the roll-ups have of these months now."""

    first: date | None
    until: date | None
    rows: int


def verify(first: date | None = None, until: date | None = None) -> list[RollupDifference]:
    """Compare the roll-ups of whole months with the rows that they were made from, at the prices of today.

    `first` and `until` (exclusive) are first days of months; None is as far as there is anything. What was not folded
    yet counts on neither side. Raises RollupsPruned, InvalidPeriod, RollupsElsewhere.
    """
    using = state.database()
    first = _first(first, using)
    state.require_whole(first, until, using)
    found: list[RollupDifference] = []
    with state.locked(using) as row, _sums(row, first, until, using) as sums:
        for target in TARGETS:
            for key, rolled, rows in sums.differences(target):
                found.append(
                    RollupDifference(
                        table=target.table,
                        key=dict(zip(target.keys, key, strict=True)),
                        rolled=rolled and dict(zip(target.measures, rolled, strict=True)),
                        rows=rows and dict(zip(target.measures, rows, strict=True)),
                    )
                )
    return found


def rebuild(first: date | None = None, until: date | None = None) -> Rebuilt:
    """Make the roll-ups of whole months anew, at the prices of today and in the reporting zone of today.

    Without bounds all that was not pruned is made anew, months before that stay as they are; a new REPORTING_ZONE
    needs that. One transaction: readers see the old ones until it ends. Raises RollupsPruned, InvalidPeriod, and
    RollupsElsewhere for a part of roll-ups that are all to be made anew.
    """
    using = state.database()
    is_whole = first is None and until is None
    first = _first(first, using)
    state.require_whole(first, until, using)
    with state.locked(using, anywhere=is_whole) as row:
        if is_whole:
            row.zone = str(zone())
            row.prices_changed_from = None
            # What was not folded yet is left to the fold: it may be of months that are not made anew.
            if state.elsewhere(row, using):
                _adopt(row, using)
        with _sums(row, first, until, using) as sums:
            rows = 0
            for target in TARGETS:
                _rows(target, first, until, using)._raw_delete(using)
                rows += sums.add(target)
            colour(sums.names, using)
        row.save(using=using)
    return Rebuilt(first=first, until=until, rows=rows)


def _first(first: date | None, using: str) -> date | None:
    return state.whole_month(using) if first is None else first


def _adopt(row: RollupState, using: str) -> None:
    """Rows of transactions that this database has not counted yet came with a copy of another's: they are old ones."""
    ahead = state.next_transaction(using)
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT set_config('token_pricing.maintenance', 'on', true)")
        for model in (TokenUsageLog, LedgerEntry):
            cursor.execute(f"UPDATE {model._meta.db_table} SET xid = NULL WHERE xid >= %s", [ahead])
        cursor.execute("SELECT set_config('token_pricing.maintenance', '', true)")
    row.horizon, row.folded_at = state.settled_transactions(using)


def _rows(target: Target, first: date | None, until: date | None, using: str) -> Any:
    rows = target.model._default_manager.using(using).all()
    if first is not None:
        rows = rows.filter(**{f"{target.calendar}__gte": first})
    if until is not None:
        rows = rows.filter(**{f"{target.calendar}__lt": until})
    return rows


class _InPostgres:
    def __init__(self, cursor: Any, row: RollupState, first: date | None, until: date | None) -> None:
        self.cursor, self.first, self.until = cursor, first, until
        span = postgresql.Span(high=row.horizon, starts_at=_moment(first), ends_at=_moment(until))
        postgresql.gather(cursor, span, row.zone)

    def differences(self, target: Target) -> list[Any]:
        conditions, params = ["true"], []
        for sign, day in ((">=", self.first), ("<", self.until)):
            if day is not None:
                conditions.append(f"t.{target.calendar} {sign} %s")
                params.append(day)
        return postgresql.differences(self.cursor, target, " AND ".join(conditions), params, MOST_NAMED)

    def add(self, target: Target) -> int:
        return postgresql.add(self.cursor, target)

    def names(self, dimension: str) -> list[str]:
        return postgresql.names(self.cursor, dimension)


class _InPython:
    def __init__(self, using: str, first: date | None, until: date | None) -> None:
        self.using, self.first, self.until = using, first, until
        self.gathered = portable.Gathered(using)
        bounds = (_moment(first), _moment(until))
        folded = ~Exists(FoldQueue.objects.using(using).filter(kind=FoldKind.USAGE, row=OuterRef("pk")))
        self.gathered.add_uses(portable.uses(using, _between("used_at", *bounds)).filter(folded).iterator(READ))
        folded = ~Exists(FoldQueue.objects.using(using).filter(kind=FoldKind.ENTRY, row=OuterRef("pk")))
        entries = portable.entries(using, _between("booked_at", *bounds)).filter(folded)
        for row in entries.iterator(READ):
            self.gathered.add_flow(row)
        # A use is earned when it was used, and that may be in another month than the booking.
        entries = portable.entries(using, Q()).filter(folded, kind__in=portable.REVENUE_KINDS)
        for row in entries.filter(allocation__paid_amount__gt=0).iterator(READ):
            moment = portable.revenue_moment(row)
            if (bounds[0] is None or moment >= bounds[0]) and (bounds[1] is None or moment < bounds[1]):
                self.gathered.add_revenue(row)

    def differences(self, target: Target) -> list[Any]:
        rows = _rows(target, self.first, self.until, self.using)
        return self.gathered.differences(target, rows, MOST_NAMED)

    def add(self, target: Target) -> int:
        return self.gathered.add(target)

    def names(self, dimension: str) -> list[str]:
        return self.gathered.names(dimension)


@contextmanager
def _sums(row: RollupState, first: date | None, until: date | None, using: str) -> Iterator[_InPostgres | _InPython]:
    """What the folded rows of these months add up to."""
    if connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            yield _InPostgres(cursor, row, first, until)
    else:
        yield _InPython(using, first, until)


def _moment(day: date | None) -> datetime | None:
    return None if day is None else start_of_day(day, zone())


def _between(name: str, starts_at: datetime | None, ends_at: datetime | None) -> Q:
    condition = Q()
    if starts_at is not None:
        condition &= Q(**{f"{name}__gte": starts_at})
    if ends_at is not None:
        condition &= Q(**{f"{name}__lt": ends_at})
    return condition
