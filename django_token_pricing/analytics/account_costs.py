"""Accounts by what they used, cost and left over in whole months.

However many accounts there are, few rows are read: each month's list is read from its top by an index until no account
further down can be among the first (Fagin's threshold algorithm).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from django.db.models import Sum

from django_token_pricing.analytics.costs import SUMS, Line
from django_token_pricing.analytics.currencies import NONE, convert, rates, summed
from django_token_pricing.lib.steps import steps
from django_token_pricing.models import AccountMonth, AccountRevenue

# Rows of a month that are read at once, and at the most.
BLOCK = 500
MOST_READ = 2_000
# What a list is read by for an order. No margin is lower than the cost is high, if refunds do not exceed what was paid.
READ_BY = {"tokens": "tokens", "cost": "cost", "margin": "cost"}


@dataclass(frozen=True, slots=True)
class AccountLines:
    """The first accounts of an order, by number. `is_certain` is unset where more would have to be read to be sure."""

    lines: tuple[Line, ...]
    is_certain: bool = True


@dataclass(slots=True)
class _List:
    """One month's accounts, as far as they are read."""

    month: date
    read_by: str
    read: int = 0
    last: Any = None
    is_over: bool = False

    def more(self) -> list[int]:
        rows = AccountMonth.objects.filter(month=self.month).order_by(f"-{self.read_by}", "account")
        found = list(rows.values_list("account", self.read_by)[self.read : self.read + BLOCK])
        self.read += len(found)
        self.is_over = len(found) < BLOCK
        self.last = NONE if self.is_over else found[-1][1]
        return [account for account, _value in found]


@dataclass(slots=True)
class _Found:
    months: Sequence[date]
    needs_revenue: bool
    lines: dict[int, Line] = field(default_factory=dict)

    def add(self, accounts: Iterable[int]) -> None:
        new = [account for account in dict.fromkeys(accounts) if account not in self.lines]
        self.lines |= of_accounts(new, self.months, with_revenue=self.needs_revenue)


def margin_by_account(months: Sequence[date], *, n: int = 20, order: str = "cost") -> AccountLines:
    """The first `n` accounts of these months (their first days): by `tokens` or `cost`, the most first, or by `margin`,
    the lowest first."""
    lists = [_List(month, READ_BY[order]) for month in dict.fromkeys(months)]
    found = _Found(months, needs_revenue=order == "margin")
    rank = _RANKS[order]
    while True:
        for one in lists:
            if not one.is_over:
                found.add(one.more())
        first = sorted(found.lines.values(), key=lambda line: (-rank(line), line.name))[:n]
        is_over = all(one.is_over for one in lists)
        if is_over or (len(first) == n and rank(first[-1]) >= sum(one.last for one in lists)):
            break
        if any(one.read >= MOST_READ for one in lists):
            return AccountLines(_with_revenue(first, months, order), is_certain=False)
    return AccountLines(_with_revenue(first, months, order))


def _with_revenue(lines: list[Line], months: Sequence[date], order: str) -> tuple[Line, ...]:
    if order == "margin":
        return tuple(lines)
    known = of_accounts([line.name for line in lines], months)
    return tuple(known[line.name] for line in lines)


_RANKS: dict[str, Callable[[Line], Any]] = {
    "tokens": lambda line: line.tokens,
    "cost": lambda line: line.cost,
    "margin": lambda line: -line.margin,
}


def of_accounts(accounts: Sequence[Any], months: Sequence[date], *, with_revenue: bool = True) -> dict[int, Line]:
    """The lines of these accounts over these months. Two queries for 500 of them."""
    known = rates()
    found: dict[int, Line] = {}
    for step in steps(list(accounts)):
        given = {"account__in": step, "month__in": months}
        revenue: dict[int, dict[str, Decimal]] = defaultdict(dict)
        if with_revenue:
            rows = AccountRevenue.objects.filter(**given).values("account", "currency")
            for row in rows.annotate(earned=Sum("amount")).order_by():
                revenue[row["account"]][row["currency"]] = summed(row["earned"])
        uses = AccountMonth.objects.filter(**given).values("account").annotate(**SUMS).order_by()
        sums: dict[int, Any] = {row["account"]: row for row in uses}
        for account in step:
            found[account] = _line(account, sums.get(account, {}), revenue[account], known)
    return found


def margin_of_account(account: int, months: Sequence[date]) -> list[Line]:
    """The months of one account that have anything, in their order. Two queries."""
    known = rates()
    given = {"account": account, "month__in": months}
    revenue: dict[date, dict[str, Decimal]] = defaultdict(dict)
    for month, currency, amount in AccountRevenue.objects.filter(**given).values_list("month", "currency", "amount"):
        revenue[month][currency] = amount
    uses = {row["month"]: row for row in AccountMonth.objects.filter(**given).values("month", *SUMS)}
    return [_line(month, uses.get(month, {}), revenue[month], known) for month in sorted({*uses, *revenue})]


def _line(name: Any, sums: Any, revenue: dict[str, Decimal], known: dict[str, Decimal]) -> Line:
    earned = convert(revenue, known)
    return Line(
        name=name,
        requests=sums.get("requests", 0),
        tokens=sums.get("tokens", 0),
        cost=summed(sums.get("cost")),
        unpriced=sums.get("unpriced", 0),
        used=earned.amount,
        apart=earned.apart,
    )
