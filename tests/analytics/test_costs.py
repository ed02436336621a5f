"""Cost and margin: what is left of what was paid, by whatever it is asked for, in sums that agree to the last digit."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_token_pricing.analytics import Period, Slice, account_costs, costs
from tests.analytics.rows import NOVEMBER, account, earned, month, used

pytestmark = pytest.mark.django_db

DAY = date(2026, 11, 10)
PERIOD = Period(NOVEMBER, date(2026, 12, 1))


@pytest.fixture(autouse=True)
def rates(settings: Any) -> None:
    settings.TOKEN_PRICING = {"EXCHANGE_RATES": {"EUR": "1.08"}}


def test_the_margin_is_what_was_earned_less_what_it_cost() -> None:
    used(DAY, cost="2.5", tokens=1_000, requests=3)
    earned(DAY, "4")
    found = costs.margin(PERIOD)
    assert (found.currency, found.whole.cost, found.whole.revenue) == ("USD", Decimal("2.5"), Decimal(4))
    assert (found.whole.margin, found.whole.share) == (Decimal("1.5"), 0.375)
    assert (found.whole.requests, found.whole.tokens) == (3, 1_000)


def test_currencies_with_a_rate_are_converted_and_the_others_stand_apart() -> None:
    earned(DAY, "10", "EUR")
    earned(DAY, "5", "INR")
    earned(DAY, "1")
    found = costs.margin(PERIOD)
    assert found.whole.revenue == Decimal("11.80")
    assert found.whole.apart == {"INR": Decimal(5)}
    assert [(one.currency, one.amount, one.converted) for one in found.earned] == [
        ("EUR", 10, Decimal("10.8")),
        ("USD", 1, 1),
        ("INR", 5, None),
    ]


@pytest.mark.parametrize("rate", ["", "x", "0", "-1", "NaN", "Infinity"])
def test_a_rate_that_is_none_converts_nothing(settings: Any, rate: str) -> None:
    settings.TOKEN_PRICING = {"EXCHANGE_RATES": {"EUR": rate}}
    earned(DAY, "10", "EUR")
    assert costs.margin(PERIOD).whole.apart == {"EUR": 10}


def test_a_refund_takes_revenue_back() -> None:
    earned(DAY, "10")
    earned(DAY, "-4", kind="refund")
    found = costs.margin(PERIOD)
    assert (found.whole.used, found.earned[0].refunded) == (6, -4)


def test_what_expired_unused_is_revenue_of_no_model() -> None:
    used(DAY)
    earned(DAY, "2")
    earned(DAY, "7", kind="expire")
    found = costs.margin_by(PERIOD, "model")
    assert [(line.name, line.revenue) for line in found.lines] == [("gpt-4o", 2)]
    assert found.breakage is not None
    assert found.breakage.revenue == 7
    assert found.whole.revenue == 9


def test_what_expired_unused_belongs_to_its_tier_and_month() -> None:
    earned(DAY, "7", kind="expire")
    for dimension, name in (("tier", "team"), ("month", NOVEMBER)):
        found = costs.margin_by(PERIOD, dimension)
        assert found.breakage is None
        assert [(line.name, line.breakage) for line in found.lines] == [(name, 7)]


def test_a_question_about_a_model_leaves_out_what_expired() -> None:
    earned(DAY, "7", kind="expire")
    earned(DAY, "2", model="")
    assert costs.margin(PERIOD, Slice(models=("",))).whole.revenue == 2


def test_uses_without_a_cost_are_counted_and_not_called_free() -> None:
    used(DAY, cost=0, unpriced=4, requests=5, model="new")
    assert costs.margin_by(PERIOD, "model").lines[0].unpriced == 4
    assert costs.margin(PERIOD).whole.unpriced == 4


def test_nothing_earned_has_no_share() -> None:
    used(DAY)
    assert costs.margin(PERIOD).whole.share is None
    assert costs.margin(PERIOD).whole.margin == Decimal("-0.01")


def test_an_empty_period_is_all_zeros() -> None:
    found = costs.margin(PERIOD)
    assert (found.whole.cost, found.whole.revenue, found.earned) == (0, 0, ())
    assert costs.margin_by(PERIOD, "tier").lines == ()


def test_days_at_the_edges_of_the_period_and_before_it() -> None:
    for day, cost in ((PERIOD.first, "1"), (PERIOD.last, "2"), (PERIOD.until, "4"), (PERIOD.before.first, "8")):
        used(day, cost=cost)
    found = costs.margin(PERIOD)
    assert (found.whole.cost, found.before.cost) == (3, 8)


def test_months_come_in_their_order() -> None:
    for first in (date(2026, 11, 2), date(2026, 9, 30), date(2026, 10, 31)):
        used(first)
    found = costs.margin_by(Period(date(2026, 9, 1), date(2026, 12, 1)), "month")
    assert [line.name for line in found.lines] == [date(2026, 9, 1), date(2026, 10, 1), NOVEMBER]


@pytest.mark.parametrize("dimension", costs.DIMENSIONS)
def test_lines_add_up_to_the_whole_exactly(dimension: str) -> None:
    # Fifteen digits, which SQLite keeps as well.
    for place in range(12):
        day = DAY + timedelta(days=place * 3 - 9)
        names = {"tier": f"t{place % 2}", "model": f"m{place % 3}", "feature": f"f{place % 5}"}
        used(day, cost=f"0.{place + 1:012d}", unpriced=place % 2, **names)
        for kind, amount in (("use", "0.0000000007"), ("refund", "-0.0000000003"), ("expire", "0.0000000011")):
            for currency in ("USD", "EUR", "INR"):
                earned(day, amount, currency, kind=kind, **names)
    period = Period(date(2026, 10, 1), date(2026, 12, 20))
    for only in (Slice(), Slice(tiers=("t0",)), Slice(models=("m1", "m2"), features=("f1",))):
        found, whole = costs.margin_by(period, dimension, only), costs.margin(period, only).whole
        assert found.whole == whole
        parts = [*found.lines, *([found.breakage] if found.breakage else [])]
        assert sum(line.margin for line in parts) == whole.margin


def test_how_many_rows_there_are_changes_no_number_of_queries() -> None:
    def ask() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            costs.margin(PERIOD)
            costs.margin_by(PERIOD, "model")
        return len(queries)

    few = ask()
    for place in range(30):
        used(DAY, model=f"m{place}")
        earned(DAY, "1", model=f"m{place}")
    assert ask() == few == 4


def test_an_unknown_dimension_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="nothing by colour"):
        costs.margin_by(PERIOD, "colour")


# Accounts


def test_the_accounts_that_cost_most_come_first_with_what_they_brought_in() -> None:
    small, large = account(), account()
    month(small, cost="1", revenue="5")
    month(large, cost="3", revenue="2")
    found = account_costs.margin_by_account([NOVEMBER], n=5)
    assert found.is_certain
    assert [(line.name, line.cost, line.revenue, line.margin) for line in found.lines] == [
        (large.pk, 3, 2, -1),
        (small.pk, 1, 5, 4),
    ]


@pytest.mark.parametrize("order", ["tokens", "cost", "margin"])
def test_the_first_of_several_months_are_those_a_full_sum_gives(order: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(account_costs, "BLOCK", 3)
    months = [date(2026, 9, 1), date(2026, 10, 1), NOVEMBER]
    accounts = [account() for _ in range(25)]
    for place, one in enumerate(accounts):
        for number, first in enumerate(months):
            if (place + number) % 4:
                spent = (place * 7 + number * 11) % 23
                month(one, first, tokens=spent * 10, cost=spent, revenue=str((place * 5 + number) % 13))
    whole = account_costs.of_accounts([one.pk for one in accounts], months)
    sign = -1 if order == "margin" else 1
    ranked = sorted(whole.values(), key=lambda line: (-sign * getattr(line, order), line.name))
    for n in (1, 4, 30):
        found = account_costs.margin_by_account(months, n=n, order=order)
        assert found.is_certain
        assert [getattr(line, order) for line in found.lines] == [getattr(line, order) for line in ranked[:n]]


def test_a_list_that_would_have_to_be_read_too_far_says_so(monkeypatch: Any) -> None:
    monkeypatch.setattr(account_costs, "BLOCK", 2)
    monkeypatch.setattr(account_costs, "MOST_READ", 4)
    for place in range(20):
        month(account(), cost=20 - place, revenue="1000")
    found = account_costs.margin_by_account([NOVEMBER], n=3, order="margin")
    assert not found.is_certain
    assert len(found.lines) == 3


def test_an_account_is_told_month_by_month() -> None:
    one = account()
    month(one, date(2026, 9, 1), cost="1", revenue="3")
    month(one, NOVEMBER, cost="2")
    found = account_costs.margin_of_account(one.pk, [date(2026, 9, 1), date(2026, 10, 1), NOVEMBER])
    assert [(line.name, line.cost, line.revenue) for line in found] == [(date(2026, 9, 1), 1, 3), (NOVEMBER, 2, 0)]
