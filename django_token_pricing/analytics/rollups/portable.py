"""The same sums in Python, for databases that have no transaction ids: rows are read in steps and added up."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, tzinfo
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from django.db.models import Q

from django_token_pricing.analytics.periods import zone
from django_token_pricing.analytics.rollups.targets import (
    ACCOUNT_REVENUE,
    DAYS,
    FLOWS,
    HOURS,
    MONTHS,
    REVENUE,
    TARGETS,
    Target,
)
from django_token_pricing.choices import EntryKind
from django_token_pricing.lib.steps import steps
from django_token_pricing.models import TOKEN_COUNTS, LedgerEntry, ModelPrice, TokenUsageLog

USE = ("account_id", "amount", "used_at", "tier", "provider", "model", "feature", *TOKEN_COUNTS, "cost")
ENTRY = (
    "account_id",
    "kind",
    "amount",
    "lot_balance",
    "booked_at",
    "allocation__source",
    "allocation__amount",
    "allocation__paid_amount",
    "allocation__paid_currency",
    "usage__account_id",
    "usage__used_at",
    "usage__tier",
    "usage__model",
    "usage__feature",
)
REVENUE_KINDS = {EntryKind.CONSUME.value: "use", EntryKind.REFUND.value: "refund", EntryKind.EXPIRE.value: "expire"}

_EXACT = Context(prec=80, rounding=ROUND_HALF_UP)
_TEN_PLACES = Decimal("1e-10")
_MILLIONTH = Decimal("1e-6")

Sums = dict[tuple[Any, ...], list[Any]]


class Prices:
    """All prices, by provider and model, for the one that was valid at a moment."""

    def __init__(self, using: str) -> None:
        self.rows: dict[tuple[str, str], tuple[list[datetime], list[ModelPrice]]] = {}
        for row in ModelPrice.objects.using(using).order_by("starts_at"):
            moments, rows = self.rows.setdefault((row.provider, row.model), ([], []))
            moments.append(row.starts_at)
            rows.append(row)

    def at(self, provider: str, model: str, moment: datetime) -> ModelPrice | None:
        for place in {(provider, model): None, ("", model): None}:
            moments, rows = self.rows.get(place, ([], []))
            if number := bisect_right(moments, moment):
                return rows[number - 1]
        return None


class Gathered:
    """The sums of rows, by roll-up and key; the measures stand in the order of the roll-up's."""

    def __init__(self, using: str) -> None:
        self.using = using
        self.zone = zone()
        self.prices = Prices(using)
        self.sums: dict[str, Sums] = {target.table: {} for target in TARGETS}
        self.tokens: dict[str, dict[str, int]] = {name: defaultdict(int) for name in ("tier", "model", "feature")}

    def add_uses(self, rows: Iterable[dict[str, Any]]) -> None:
        for row in rows:
            wall = row["used_at"].astimezone(self.zone)
            day, price = wall.date(), self.prices.at(row["provider"], row["model"], row["used_at"])
            known = _cost(row, price)
            counts = [row[name] or 0 for name in TOKEN_COUNTS[:3]]
            measures = [1, row["amount"], *counts, known or Decimal(0), int(known is None)]
            which = (row["tier"], row["model"], row["feature"])
            self._sum(HOURS, (_hour(row["used_at"], self.zone), *which, day, wall.hour), measures)
            self._sum(DAYS, (day, *which), measures)
            self._sum(MONTHS, (row["account_id"], day.replace(day=1)), measures)
            for name in self.tokens:
                self.tokens[name][row[name]] += row["amount"]

    def add_flow(self, row: dict[str, Any]) -> None:
        day = row["booked_at"].astimezone(self.zone).date()
        self._sum(FLOWS, (day, row["kind"], row["allocation__source"]), [1, row["amount"]])

    def add_revenue(self, row: dict[str, Any]) -> None:
        kind = REVENUE_KINDS.get(row["kind"])
        if kind is None or not row["allocation__paid_amount"]:
            return
        day = revenue_moment(row).astimezone(self.zone).date()
        drawn = row["allocation__amount"] - row["lot_balance"]
        amount = _earned(row, drawn) - _earned(row, drawn + row["amount"])
        which = (row["usage__tier"] or "", row["usage__model"] or "", row["usage__feature"] or "")
        currency = row["allocation__paid_currency"]
        self._sum(REVENUE, (day, kind, *which, currency), [amount, -row["amount"]])
        account = row["usage__account_id"] or row["account_id"]
        self._sum(ACCOUNT_REVENUE, (account, day.replace(day=1), currency), [amount])

    def _sum(self, target: Target, key: tuple[Any, ...], measures: list[Any]) -> None:
        sums = self.sums[target.table].setdefault(key, [0] * len(measures))
        for place, value in enumerate(measures):
            sums[place] += value

    def names(self, dimension: str) -> list[str]:
        return sorted(self.tokens[dimension], key=lambda name: (-self.tokens[dimension][name], name))

    def add(self, target: Target) -> int:
        """Add them to the roll-up, under the lock of its state; how many of its rows changed."""
        sums = self.sums[target.table]
        made, changed = [], []
        named = (*target.keys, *target.derived)
        for keys in steps(list(sums)):
            known = self._known(target, keys)
            for key in keys:
                row = known.get(key[: len(target.keys)])
                if row is None:
                    row = target.model(**dict(zip(named, key, strict=True)))
                    made.append(row)
                else:
                    changed.append(row)
                for name, value in zip(target.measures, sums[key], strict=True):
                    setattr(row, name, getattr(row, name) + value)
        rows = target.model._default_manager.using(self.using)
        rows.bulk_create(made, batch_size=500)
        rows.bulk_update(changed, target.measures, batch_size=200)
        return len(made) + len(changed)

    def _known(self, target: Target, keys: Sequence[tuple[Any, ...]]) -> dict[tuple[Any, ...], Any]:
        first = target.keys[0]
        found = target.model._default_manager.using(self.using).filter(**{f"{first}__in": {key[0] for key in keys}})
        if target.calendar != first:
            place = (*target.keys, *target.derived).index(target.calendar)
            days = [key[place] for key in keys]
            found = found.filter(**{f"{target.calendar}__gte": min(days), f"{target.calendar}__lte": max(days)})
        return {tuple(getattr(row, name) for name in target.keys): row for row in found}

    def differences(self, target: Target, rows: Any, most: int) -> list[Any]:
        """Where the roll-up is not what was gathered: key, what it says, what the rows say (None: no such row)."""
        size = len(target.keys)
        right = {key[:size]: tuple(sums) for key, sums in self.sums[target.table].items()}
        said = {
            tuple(getattr(row, name) for name in target.keys): tuple(getattr(row, name) for name in target.measures)
            for row in rows
        }
        odd = sorted(key for key in {*right, *said} if right.get(key) != said.get(key))
        return [(key, said.get(key), right.get(key)) for key in odd[:most]]


def uses(using: str, where: Q) -> Any:
    return TokenUsageLog.objects.using(using).filter(where).values(*USE)


def entries(using: str, where: Q) -> Any:
    return LedgerEntry.objects.using(using).filter(where).values(*ENTRY)


def revenue_moment(row: dict[str, Any]) -> datetime:
    moment: datetime = row["usage__used_at"] if row["kind"] == EntryKind.CONSUME else row["booked_at"]
    return moment


def _hour(moment: datetime, of: tzinfo) -> datetime:
    """The hour as the clocks show it; told apart by its moment where they show it twice."""
    wall = moment.astimezone(of)
    return moment - timedelta(minutes=wall.minute, seconds=wall.second, microseconds=wall.microsecond)


def _cost(row: dict[str, Any], price: ModelPrice | None) -> Decimal | None:
    """What the use cost; None where nobody knows."""
    if row["cost"] is not None:
        return Decimal(row["cost"])
    if (row["input_tokens"] is None and row["output_tokens"] is None) or price is None:
        return None
    if price.input is None or price.output is None:
        return None
    given, made, cached, kept, thought = (row[name] or 0 for name in TOKEN_COUNTS)
    read = price.input if price.cached_read is None else price.cached_read
    write = price.input if price.cached_write is None else price.cached_write
    reasoning = price.output if price.reasoning is None else price.reasoning
    plain = (given - cached - kept) * price.input + (made - thought) * price.output
    return Decimal(plain + cached * read + kept * write + thought * reasoning) * _MILLIONTH


def _earned(row: dict[str, Any], drawn: int) -> Decimal:
    """What was earned of a lot of which so much was drawn; PostgreSQL rounds in the same way."""
    whole = _EXACT.divide(
        _EXACT.multiply(row["allocation__paid_amount"], Decimal(drawn)), Decimal(row["allocation__amount"])
    )
    return whole.quantize(_TEN_PLACES, context=_EXACT)
