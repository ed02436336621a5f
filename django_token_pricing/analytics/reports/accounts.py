"""The tables that have a row for each account, or for each of its months: long, and read a page at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from django.contrib.auth import get_user_model

from django_token_pricing.analytics.costs import Line
from django_token_pricing.analytics.currencies import convert, rates
from django_token_pricing.analytics.reports.tables import Money, Table, Terms, paged
from django_token_pricing.lib.steps import steps
from django_token_pricing.lib.workbooks import Column
from django_token_pricing.models import AccountMonth, AccountRevenue, AccountSummary, TokenAccount

WHOSE = [Column("account", "whole"), Column("owner"), Column("tier")]
USED = [
    *WHOSE,
    Column("month", "day"),
    Column("requests", "whole"),
    Column("tokens", "whole"),
    Column("input_tokens", "whole"),
    Column("output_tokens", "whole"),
    Column("cached_tokens", "whole"),
    Money("cost", "amount"),
    Money("uses_without_cost", "whole"),
]
EARNED = [
    *WHOSE,
    Column("month", "day"),
    Column("requests", "whole"),
    Column("tokens", "whole"),
    Money("cost", "amount"),
    Money("uses_without_cost", "whole"),
    Money("revenue", "amount"),
    Money("margin", "amount"),
    Money("margin_share", "share"),
    Money("revenue_apart"),
]
HAD = [
    *WHOSE,
    Column("available", "whole"),
    Column("granted_this_month", "whole"),
    Column("used_this_month", "whole"),
    Column("used_share", "share"),
    Column("next_expiry", "moment"),
    Column("last_used_at", "moment"),
]
STEP = 500


def used_by_accounts(terms: Terms) -> Table:
    """Of the months that the period touches, whole: accounts have no days of their own."""
    months = AccountMonth.objects.filter(month__in=terms.period.months())
    names = [column.name for column in USED[3:-1]]

    def rows() -> Iterator[Sequence[Any]]:
        for part, owners in _named(months.values("account", "unpriced", *names)):
            for row in part:
                yield [row["account"], *owners[row["account"]], *(row[name] for name in names), row["unpriced"]]

    return Table("Accounts", USED, rows, lambda most: months[: most + 1].count())


def earned_by_accounts(terms: Terms) -> Table:
    """The same with what they brought in, what expired of their lots included."""
    months = AccountMonth.objects.filter(month__in=terms.period.months())
    known = rates()

    def rows() -> Iterator[Sequence[Any]]:
        for part, owners in _named(months.values("account", "month", "requests", "tokens", "cost", "unpriced")):
            revenue = _revenue(part)
            for row in part:
                earned = convert(revenue[row["account"], row["month"]], known)
                line = Line(cost=row["cost"], used=earned.amount, apart=earned.apart)
                told = [row[name] for name in ("month", "requests", "tokens", "cost", "unpriced")]
                yield [row["account"], *owners[row["account"]], *told, *earnings(line)]

    return Table("Accounts", EARNED, rows, lambda most: months[: most + 1].count())


def earnings(line: Line) -> list[Any]:
    """Revenue, margin, its share, and what has no rate."""
    share = None if line.share is None else Decimal(f"{line.share:.6f}")
    return [line.revenue, line.margin, share, apart(line)]


def apart(line: Line) -> str:
    return ", ".join(f"{currency} {amount:f}" for currency, amount in sorted(line.apart.items()))


def had_by_accounts(terms: Terms) -> Table:
    """Every account as it was at the last refresh of the summaries, with what it used of what it had this month."""
    summaries = AccountSummary.objects.all()
    if terms.only.tiers:
        summaries = summaries.filter(tier__in=terms.only.tiers)
    fields = ("account", "available", "granted", "used", "next_expiry", "last_used_at")

    def rows() -> Iterator[Sequence[Any]]:
        for part, owners in _named(summaries.values(*fields)):
            for row in part:
                granted, used = int(row["granted"]), int(row["used"])
                had = max(granted, used + row["available"])
                share = Decimal(used) / had if had > 0 else None
                figures = [row["available"], granted, used, share and share.quantize(Decimal("0.000001"))]
                yield [row["account"], *owners[row["account"]], *figures, row["next_expiry"], row["last_used_at"]]

    return Table("Accounts", HAD, rows, lambda most: summaries.order_by()[: most + 1].count())


def _named(rows: Any) -> Iterator[tuple[Sequence[dict[str, Any]], dict[int, tuple[str, str]]]]:
    """Rows by account in steps, each with the owners and tiers of its accounts."""
    order = ("account", "month") if rows.model is AccountMonth else ("account",)
    part: list[dict[str, Any]] = []
    for row in paged(rows, *order):
        part.append(row)
        if len(part) == STEP:
            yield part, _owners(part)
            part = []
    if part:
        yield part, _owners(part)


def _owners(rows: Sequence[dict[str, Any]]) -> dict[int, tuple[str, str]]:
    """What an import would find them by; of a closed account, which has no owner, its number."""
    found: dict[int, tuple[str, str]] = {}
    login = f"user__{get_user_model().USERNAME_FIELD}"
    for step in steps(list({row["account"] for row in rows})):
        for pk, name, pool, tier in TokenAccount.objects.filter(pk__in=step).values_list(
            "pk", login, "pool__name", "tier"
        ):
            owner = f"pool:{pool}" if pool is not None else f"account:{pk}" if name is None else str(name)
            found[pk] = (owner, tier)
    return found


def _revenue(rows: Sequence[dict[str, Any]]) -> dict[tuple[int, date], dict[str, Decimal]]:
    found: dict[tuple[int, date], dict[str, Decimal]] = defaultdict(dict)
    months = {row["month"] for row in rows}
    for step in steps(list({row["account"] for row in rows})):
        earned = AccountRevenue.objects.filter(account__in=step, month__in=months)
        for account, month, currency, amount in earned.values_list("account", "month", "currency", "amount"):
            found[account, month][currency] = amount
    return found
