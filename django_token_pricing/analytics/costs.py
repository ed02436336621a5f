"""What uses cost, what was earned with them and what is left, read from the roll-ups of days and nothing else.

Revenue is what was paid for tokens, recognised as they are used; a refund takes it back. What was paid for tokens that
expired unused is revenue as well, the breakage: it stands by itself, as no model and no feature made it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db.models import F, QuerySet, Sum
from django.db.models.functions import TruncMonth, TruncWeek

from django_token_pricing import conf
from django_token_pricing.analytics.currencies import EXACT, NONE, convert, rates, summed, total
from django_token_pricing.analytics.periods import ALL, Period, Slice
from django_token_pricing.choices import RevenueKind
from django_token_pricing.models import RevenueDay, UsageDay

# Of a dimension, where the breakage is a line of its own.
WITHOUT_BREAKAGE = ("model", "feature")
TIMES: dict[str, Any] = {"day": F, "week": TruncWeek, "month": TruncMonth}
DIMENSIONS = ("tier", "model", "feature", *TIMES)
KINDS = (RevenueKind.USE.value, RevenueKind.REFUND.value, RevenueKind.EXPIRE.value)
SUMS = {name: Sum(name) for name in ("requests", "tokens", "cost", "unpriced")}

Kinds = dict[str, dict[str, Decimal]]


@dataclass(frozen=True, slots=True)
class Line:
    """A part, or the whole. Amounts are in the currency of costs, but for those `apart`, which have no rate.

    `name` is a tier, model or feature, a day (of a week or month its first), the number of an account, or None for the
    whole and for the breakage alone.
    """

    name: Any = None
    requests: int = 0
    tokens: int = 0
    cost: Decimal = NONE
    unpriced: int = 0
    used: Decimal = NONE
    breakage: Decimal = NONE
    apart: Mapping[str, Decimal] = field(default_factory=dict)

    @property
    def revenue(self) -> Decimal:
        return EXACT.add(self.used, self.breakage)

    @property
    def margin(self) -> Decimal:
        """Too high by what the uses without a cost did cost, and without what is apart."""
        return EXACT.subtract(self.revenue, self.cost)

    @property
    def share(self) -> float | None:
        """The margin's share of the revenue; None where nothing was earned."""
        return float(self.margin / self.revenue) if self.revenue > 0 else None


@dataclass(frozen=True, slots=True)
class Earned:
    """Revenue in one currency, refunds below 0; `converted` is None where the currency has no rate."""

    currency: str
    used: Decimal
    refunded: Decimal
    breakage: Decimal
    converted: Decimal | None

    @property
    def amount(self) -> Decimal:
        return total((self.used, self.refunded, self.breakage))


@dataclass(frozen=True, slots=True)
class Margin:
    """Of a period, and of as many days before it."""

    period: Period
    currency: str
    whole: Line
    before: Line
    earned: tuple[Earned, ...]


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Lines that add up to the whole with the breakage, which is None where each line has its own."""

    dimension: str
    lines: tuple[Line, ...]
    breakage: Line | None
    whole: Line


def margin(period: Period, only: Slice = ALL) -> Margin:
    """Cost, revenue and what is left of a period. Two queries."""
    known = rates()
    whole, before, by_kind = _wholes(period, only, known)
    return Margin(
        period=period,
        currency=conf.current().DEFAULT_CURRENCY,
        whole=whole,
        before=before,
        earned=_earned(by_kind, known),
    )


def margin_by(period: Period, dimension: str, only: Slice = ALL) -> Breakdown:
    """By tier, model or feature, those that cost most first, or by day, week or month in their order. Two queries."""
    if dimension not in DIMENSIONS:
        raise ValueError(f"There is nothing by {dimension}.")
    uses, earned = _uses(period, only), _earnings(period, only)
    of = dimension
    if dimension in TIMES:
        of, cut = "starts", TIMES[dimension]("day")
        uses, earned = uses.annotate(starts=cut), earned.annotate(starts=cut)
    revenue: dict[Any, Kinds] = defaultdict(lambda: defaultdict(dict))
    alone: dict[str, Decimal] = {}
    for row in earned.values(of, "kind", "currency").annotate(earned=Sum("amount")).order_by():
        if row["kind"] == RevenueKind.EXPIRE and dimension in WITHOUT_BREAKAGE:
            alone[row["currency"]] = EXACT.add(alone.get(row["currency"], NONE), summed(row["earned"]))
        else:
            revenue[row[of]][row["kind"]][row["currency"]] = summed(row["earned"])
    known = rates()
    rows = uses.values(of).annotate(**SUMS).order_by()
    lines = [_line(row[of], row, revenue.pop(row[of], {}), known) for row in rows]
    # Refunds and breakage of what nobody used in the period.
    lines += [_line(name, {}, kinds, known) for name, kinds in revenue.items()]
    lines.sort(key=lambda line: (line.name,) if dimension in TIMES else (-line.cost, -line.used, line.name))
    breakage = _line(None, {}, {RevenueKind.EXPIRE.value: alone}, known) if alone else None
    return Breakdown(dimension, tuple(lines), breakage, added([*lines, *([breakage] if breakage else [])]))


def added(lines: Iterable[Line]) -> Line:
    """Their sum, to the last digit."""
    every = list(lines)
    apart: dict[str, Decimal] = {}
    for line in every:
        for currency, amount in line.apart.items():
            apart[currency] = EXACT.add(apart.get(currency, NONE), amount)
    return Line(
        requests=sum(line.requests for line in every),
        tokens=sum(line.tokens for line in every),
        cost=total(line.cost for line in every),
        unpriced=sum(line.unpriced for line in every),
        used=total(line.used for line in every),
        breakage=total(line.breakage for line in every),
        apart=apart,
    )


def _wholes(period: Period, only: Slice, known: Mapping[str, Decimal]) -> tuple[Line, Line, Kinds]:
    """Of the period and of the one before, and what was earned in the period."""
    spans = {"now": period.in_days(), "before": period.before.in_days()}
    both = {"day__gte": period.before.first, "day__lt": period.until}
    earned: dict[str, Kinds] = {span: defaultdict(dict) for span in spans}
    sums = {span: Sum("amount", filter=condition) for span, condition in spans.items()}
    for row in _of(RevenueDay.objects.filter(**both), only).values("kind", "currency").annotate(**sums).order_by():
        for span in spans:
            if row[span] is not None:
                earned[span][row["kind"]][row["currency"]] = row[span]
    wanted = {f"{name}_{span}": Sum(name, filter=condition) for name in SUMS for span, condition in spans.items()}
    uses = UsageDay.objects.filter(only.condition(), **both).aggregate(**wanted)
    now, before = (_line(None, {name: uses[f"{name}_{span}"] for name in SUMS}, earned[span], known) for span in spans)
    return now, before, earned["now"]


def _uses(period: Period, only: Slice) -> QuerySet[Any]:
    return UsageDay.objects.filter(period.in_days(), only.condition())


def _earnings(period: Period, only: Slice) -> QuerySet[Any]:
    return _of(RevenueDay.objects.filter(period.in_days()), only)


def _of(rows: QuerySet[Any], only: Slice) -> QuerySet[Any]:
    rows = rows.filter(only.condition())
    # What expired was of no model and no feature: also not of what is called "", which is that none was named.
    return rows.exclude(kind=RevenueKind.EXPIRE) if only.models or only.features else rows


def _line(name: Any, sums: Mapping[str, Any], kinds: Mapping[str, Any], known: Mapping[str, Decimal]) -> Line:
    used, refunded, breakage = (convert(kinds.get(kind, {}), known) for kind in KINDS)
    apart: dict[str, Decimal] = {}
    for part in (used, refunded, breakage):
        for currency, amount in part.apart.items():
            apart[currency] = EXACT.add(apart.get(currency, NONE), amount)
    return Line(
        name=name,
        requests=sums.get("requests") or 0,
        tokens=sums.get("tokens") or 0,
        cost=summed(sums.get("cost")),
        unpriced=sums.get("unpriced") or 0,
        used=EXACT.add(used.amount, refunded.amount),
        breakage=breakage.amount,
        apart=apart,
    )


def _earned(by_kind: Kinds, known: Mapping[str, Decimal]) -> tuple[Earned, ...]:
    """By currency: those with a rate first."""
    found = []
    for currency in {currency for amounts in by_kind.values() for currency in amounts}:
        used, refunded, breakage = (by_kind.get(kind, {}).get(currency, NONE) for kind in KINDS)
        rate = known.get(currency)
        converted = None if rate is None else EXACT.multiply(total((used, refunded, breakage)), rate)
        found.append(Earned(currency, used, refunded, breakage, converted))
    return tuple(sorted(found, key=lambda one: (one.converted is None, one.currency)))
