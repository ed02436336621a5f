"""What uses cost, and what was left of what was paid for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.utils.translation import gettext_lazy as _

from django_token_pricing.analytics import costs
from django_token_pricing.analytics.reports.accounts import earned_by_accounts, earnings
from django_token_pricing.analytics.reports.tables import Money, Report, Table, Terms, of_lines
from django_token_pricing.lib.workbooks import Column

GROUPS: list[tuple[str, Any]] = [
    ("model", _("Model")),
    ("tier", _("Tier")),
    ("feature", _("Feature")),
    ("month", _("Month")),
]
USED = [Column("requests", "whole"), Column("tokens", "whole"), Money("cost", "amount")]
UNPRICED = Money("uses_without_cost", "whole")
LEFT = [Money("revenue", "amount"), Money("margin", "amount"), Money("margin_share", "share"), Money("revenue_apart")]
WHOLE, BREAKAGE = "(all)", "(expired unused)"


class CostReport(Report):
    """By one dimension, and by months; a part of its own lists models without a price, which are not free."""

    name = "cost"
    title = _("Cost")
    groups: ClassVar[Sequence[tuple[str, Any]]] = GROUPS
    is_money = True

    def all_tables(self, terms: Terms) -> list[Table]:
        return [
            self._by("Cost", terms, terms.group),
            self._by("By month", terms, "month"),
            of_lines("Without a price", [Column("model"), *USED, UNPRICED], lambda: self._unpriced(terms)),
        ]

    def _by(self, sheet: str, terms: Terms, group: str) -> Table:
        def lines() -> list[Sequence[Any]]:
            found = costs.margin_by(terms.period, group, terms.only)
            return [_used(line) for line in found.lines]

        return of_lines(sheet, [_named(group), *USED, UNPRICED], lines)

    def _unpriced(self, terms: Terms) -> list[Sequence[Any]]:
        found = costs.margin_by(terms.period, "model", terms.only)
        return [_used(line) for line in found.lines if line.unpriced]


class MarginReport(Report):
    """The lines of the first part add up to the last one of it."""

    name = "margin"
    title = _("Margin")
    groups: ClassVar[Sequence[tuple[str, Any]]] = [*GROUPS, ("account", _("Account and month"))]
    is_money = True

    def takes(self, group: str) -> Sequence[str]:
        """Accounts are summed by months, over all models and features and whatever their tier was then."""
        return () if group == "account" else self.dimensions

    def all_tables(self, terms: Terms) -> list[Table]:
        if terms.group == "account":
            return [earned_by_accounts(terms)]
        columns = [_named(terms.group), *USED, UNPRICED, *LEFT]
        earned = [
            Column("currency"),
            Money("used", "amount"),
            Money("refunded", "amount"),
            Money("expired_unused", "amount"),
            Money("revenue", "amount"),
            Money("converted", "amount"),
        ]
        return [
            of_lines("Margin", columns, lambda: self._lines(terms)),
            of_lines("Revenue", earned, lambda: self._earned(terms)),
            of_lines("Before", [Column("period"), *USED, UNPRICED, *LEFT], lambda: self._before(terms)),
        ]

    def _lines(self, terms: Terms) -> list[Sequence[Any]]:
        found = costs.margin_by(terms.period, terms.group, terms.only)
        lines = [[*_used(line), *earnings(line)] for line in found.lines]
        # A month is a day in its column, and text has no place there.
        whole, breakage = (None, None) if terms.group == "month" else (WHOLE, BREAKAGE)
        if found.breakage:
            lines.append([breakage, *_used(found.breakage)[1:], *earnings(found.breakage)])
        return [*lines, [whole, *_used(found.whole)[1:], *earnings(found.whole)]]

    def _earned(self, terms: Terms) -> list[Sequence[Any]]:
        found = costs.margin(terms.period, terms.only).earned
        return [[one.currency, one.used, one.refunded, one.breakage, one.amount, one.converted] for one in found]

    def _before(self, terms: Terms) -> list[Sequence[Any]]:
        found = costs.margin(terms.period, terms.only)
        named = ((terms.period, found.whole), (terms.period.before, found.before))
        return [[f"{period.first} – {period.last}", *_used(line)[1:], *earnings(line)] for period, line in named]


def _named(group: str) -> Column:
    return Column(group, "day" if group == "month" else "text")


def _used(line: costs.Line) -> list[Any]:
    return [line.name, line.requests, line.tokens, line.cost, line.unpriced]
