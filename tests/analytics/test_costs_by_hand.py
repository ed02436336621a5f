"""Cost and margin of a site with everything in it equal what a loop over its rows gives, to the last digit."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import datetime, timedelta
from datetime import timezone as utc
from decimal import Decimal
from typing import Any

import pytest

from django_token_pricing import analytics, tokens
from django_token_pricing.lib.money import Money
from django_token_pricing.lib.periods import month_of
from django_token_pricing.models import LedgerEntry, ModelPrice, TokenAccount, TokenAllocation, TokenUsageLog
from tests import world
from tests.analytics.rolled import roll_up
from tests.tokens.clock import Clock, noon

pytestmark = pytest.mark.django_db

KINDS = {"consume": "used", "refund": "refunded", "expire": "breakage"}
# A price a million tokens; 8 tokens a lot that costs 1, so that no share of it is rounded.
PRICES = {"gpt-4o": ("2.5", "10"), "haiku": ("0.8", "4")}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(noon(2026, 9, 10))
    clock.start(monkeypatch)
    return clock


@pytest.fixture(autouse=True)
def rates(settings: Any) -> None:
    settings.TOKEN_PRICING = {"EXCHANGE_RATES": {"EUR": "1.08"}}


@pytest.fixture
def busy(clock: Clock) -> analytics.Period:
    """Lots in three currencies, drawn, refunded, carried over and expired over two months, by people and a pool."""
    dice = random.Random(7)
    for model, (given, made) in PRICES.items():
        since = datetime(2020, 1, 1, tzinfo=utc.utc)
        ModelPrice.objects.create(model=model, starts_at=since, input=Decimal(given), output=Decimal(made))
    people = world.new_users(4)
    pool = world.new_pool(people[3])
    first = clock.now
    for place, owner in enumerate([*people[:3], pool]):
        for number, currency in enumerate(["USD", "EUR", "INR"]):
            ends = first + timedelta(days=40 + number)
            paid = Money(str(1 + place), currency)
            tokens.grant(owner, 800, source="purchase", paid=paid, expires_at=ends)
        tokens.grant(owner, 50, source="plan")
    TokenAccount.objects.filter(user=people[0]).update(tier="team")
    for step in range(60):
        clock.at(first + timedelta(hours=10 * step))
        who = dice.choice(people)
        facts = {"model": dice.choice(["gpt-4o", "haiku", "unknown"]), "feature": dice.choice(["chat", ""])}
        counts = {"input_tokens": dice.randrange(1_000), "output_tokens": dice.randrange(500)}
        if step % 7 == 0:
            counts["cost"] = Decimal(dice.randrange(1, 999)) / 10**7
        tokens.consume(who, dice.randrange(1, 20), key=f"use:{step}", **facts, **counts)
        if step % 9 == 4:
            tokens.refund(f"use:{step}", reason="Broken answer", actor=None)
    lot = TokenAllocation.objects.filter(account__user=people[1], is_open=True, paid_currency="USD").get()
    left = lot.remaining // 8 * 8
    tokens.rollover(lot, left, key="carry", starts_at=clock.now, expires_at=clock.now + timedelta(days=3))
    clock.at(first + timedelta(days=50))
    tokens.expire(as_of=clock.now)
    roll_up()
    return analytics.Period(first.date() - timedelta(days=5), clock.now.date() + timedelta(days=5))


def cost_of(use: TokenUsageLog) -> Decimal | None:
    if use.cost is not None:
        return use.cost
    if use.model not in PRICES:
        return None
    given, made = map(Decimal, PRICES[use.model])
    return ((use.input_tokens or 0) * given + (use.output_tokens or 0) * made) / 10**6


def name_of(row: Any, dimension: str) -> Any:
    if dimension == "month":
        moment = row.used_at if isinstance(row, TokenUsageLog) else row.booked_at
        return month_of(moment, analytics.zone())
    return getattr(row, dimension)


def earned(entry: LedgerEntry) -> Decimal:
    lot = entry.allocation
    return -entry.amount * (lot.paid_amount or Decimal(0)) / lot.amount


@pytest.mark.parametrize("dimension", ["tier", "model", "feature", "month"])
def test_lines_are_what_a_loop_over_the_rows_gives(busy: analytics.Period, dimension: str) -> None:
    cost: dict[Any, Decimal] = defaultdict(Decimal)
    uses: dict[Any, list[int]] = defaultdict(lambda: [0, 0, 0])
    for use in TokenUsageLog.objects.all():
        known, sums = cost_of(use), uses[name_of(use, dimension)]
        cost[name_of(use, dimension)] += known or 0
        for place, value in enumerate((1, use.amount, known is None)):
            sums[place] += value
    revenue: dict[Any, Decimal] = defaultdict(Decimal)
    apart: dict[Any, Decimal] = defaultdict(Decimal)
    alone = Decimal(0)
    rows = LedgerEntry.objects.filter(kind__in=KINDS, allocation__paid_amount__isnull=False)
    for entry in rows.select_related("allocation", "usage"):
        currency, amount = entry.allocation.paid_currency, earned(entry)
        if entry.kind == "expire":
            name = name_of(entry, "month") if dimension == "month" else "" if dimension == "tier" else None
        else:
            of = entry.usage if dimension != "month" or entry.kind == "consume" else entry
            name = name_of(of, dimension)
        if currency == "INR":
            apart[name] += amount
        elif name is None:
            alone += amount * (Decimal("1.08") if currency == "EUR" else 1)
        else:
            revenue[name] += amount * (Decimal("1.08") if currency == "EUR" else 1)
    found = analytics.margin_by(busy, dimension)
    assert {line.name: line.cost for line in found.lines if line.requests} == cost
    assert {line.name: [line.requests, line.tokens, line.unpriced] for line in found.lines if line.requests} == uses
    assert {line.name: line.revenue for line in found.lines if line.revenue} == {n: v for n, v in revenue.items() if v}
    assert {line.name: line.apart["INR"] for line in found.lines if line.apart} == {
        name: value for name, value in apart.items() if value and name is not None
    }
    assert (found.breakage.revenue if found.breakage else 0) == alone
    assert found.whole == analytics.margin(busy).whole


def test_all_that_was_paid_and_is_gone_was_earned(busy: analytics.Period) -> None:
    by_currency: dict[str, Decimal] = defaultdict(Decimal)
    for lot in TokenAllocation.objects.filter(paid_amount__isnull=False, is_open=False, children=None):
        by_currency[lot.paid_currency] += lot.paid_amount or 0
    parent = TokenAllocation.objects.get(children__isnull=False)
    moved = sum(child.paid_amount or 0 for child in parent.children.all())
    by_currency["USD"] += (parent.paid_amount or 0) - moved
    assert not TokenAllocation.objects.filter(is_open=True, paid_amount__isnull=False).exists()
    assert {one.currency: one.amount for one in analytics.margin(busy).earned} == by_currency


def test_accounts_add_up_to_the_site(busy: analytics.Period) -> None:
    accounts = analytics.margin_by_account(busy.months(), n=50)
    whole = analytics.margin(analytics.Period(busy.months()[0], busy.until)).whole
    assert accounts.is_certain
    assert sum(line.cost for line in accounts.lines) == whole.cost
    assert sum(line.tokens for line in accounts.lines) == whole.tokens
