"""The roll-ups equal the rows, whatever comes in whichever order."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from datetime import timezone as tz
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, transaction
from django.db.models import Q, Sum
from django.utils import timezone

from django_token_pricing import analytics, tokens
from django_token_pricing.analytics.rollups import portable
from django_token_pricing.analytics.rollups.targets import TARGETS
from django_token_pricing.lib.money import Money
from django_token_pricing.models import (
    AccountMonth,
    AccountRevenue,
    ChartSlot,
    FlowDay,
    FoldQueue,
    LedgerEntry,
    ModelPrice,
    RevenueDay,
    RollupState,
    TokenUsageLog,
    UsageDay,
    UsageHour,
)
from tests.analytics.rolled import roll_up
from tests.tokens.clock import Clock
from tests.world import new_pool, new_user, new_users

NOW = datetime(2026, 3, 10, 12, 30, tzinfo=tz.utc)


def record(user: Any, amount: int = 10, *, at: datetime = NOW, **facts: Any) -> None:
    tokens.record_many([tokens.Use(user, amount, used_at=at, **facts)])


def price(model: str, since: datetime = datetime(2020, 1, 1, tzinfo=tz.utc), **given: Any) -> ModelPrice:
    prices: dict[str, Any] = {"input": Decimal(2), "output": Decimal(8), **given}
    return ModelPrice.objects.create(model=model, starts_at=since, **prices)


def by_hand() -> dict[str, Any]:
    """What the rows add up to, said by the other implementation where there are two."""
    gathered = portable.Gathered("default")
    gathered.add_uses(portable.uses("default", Q()))
    for row in portable.entries("default", Q()):
        gathered.add_flow(row)
        gathered.add_revenue(row)
    return {table: {key: list(sums) for key, sums in of.items()} for table, of in gathered.sums.items()}


def rolled() -> dict[str, Any]:
    return {
        target.table: {
            tuple(getattr(row, name) for name in (*target.keys, *target.derived)): [
                getattr(row, name) for name in target.measures
            ]
            for row in target.model._default_manager.all()
        }
        for target in TARGETS
    }


def test_uses_are_summed_by_hour_day_and_month_of_the_account(user: Any) -> None:
    record(user, 10, feature="chat", model="small", input_tokens=7, output_tokens=3, cached_tokens=2)
    record(user, 5, feature="chat", model="small", at=NOW + timedelta(minutes=20), input_tokens=5)
    record(user, 1, feature="chat", model="small", at=NOW + timedelta(minutes=40))
    roll_up()
    hours = list(UsageHour.objects.order_by("starts_at").values_list("starts_at", "hour", "requests", "tokens"))
    noon = NOW.replace(minute=0)
    assert hours == [(noon, 13, 2, 15), (noon + timedelta(hours=1), 14, 1, 1)]
    day = UsageDay.objects.get()
    assert (day.day, day.feature, day.model, day.requests) == (date(2026, 3, 10), "chat", "small", 3)
    assert (day.tokens, day.input_tokens, day.output_tokens, day.cached_tokens) == (16, 12, 3, 2)
    month = AccountMonth.objects.get()
    assert (month.month, month.requests, month.tokens) == (date(2026, 3, 1), 3, 16)


def test_a_day_is_that_of_the_reporting_zone(user: Any, settings: Any) -> None:
    settings.TOKEN_PRICING = {"REPORTING_ZONE": "Asia/Kolkata"}
    record(user, at=datetime(2026, 3, 31, 18, 45, tzinfo=tz.utc))
    roll_up()
    hour = UsageHour.objects.get()
    assert (hour.day, hour.hour) == (date(2026, 4, 1), 0)
    assert hour.starts_at == datetime(2026, 3, 31, 18, 30, tzinfo=tz.utc)
    assert AccountMonth.objects.get().month == date(2026, 4, 1)


def test_an_hour_that_the_clocks_show_twice_is_two(user: Any, settings: Any) -> None:
    settings.TOKEN_PRICING = {"REPORTING_ZONE": "Europe/Berlin"}
    first = datetime(2026, 10, 25, 0, 30, tzinfo=tz.utc)
    record(user, 1, at=first)
    record(user, 2, at=first + timedelta(hours=1))
    roll_up()
    assert list(UsageHour.objects.order_by("starts_at").values_list("hour", "tokens")) == [(2, 1), (2, 2)]
    assert UsageDay.objects.get().tokens == 3


@pytest.mark.parametrize(
    ("facts", "cost", "unpriced"),
    [
        ({"input_tokens": 1_000, "output_tokens": 500}, "0.006", 0),
        ({"input_tokens": 1_000, "cached_tokens": 400, "cache_write_tokens": 100}, "0.00135", 0),
        ({"output_tokens": 500, "reasoning_tokens": 200}, "0.0044", 0),
        ({"input_tokens": 1_000, "cost": Decimal("0.5")}, "0.5", 0),
        ({}, "0", 1),
        ({"input_tokens": 0}, "0", 0),
    ],
)
def test_a_use_costs_what_its_tokens_cost(user: Any, facts: dict[str, Any], cost: str, unpriced: int) -> None:
    price("small", cached_read=Decimal("0.5"), cached_write=Decimal("1.5"), reasoning=Decimal(10))
    record(user, model="small", **facts)
    roll_up()
    day = UsageDay.objects.get()
    assert (day.cost, day.unpriced) == (Decimal(cost), unpriced)


def test_the_price_is_that_of_the_moment_and_of_the_provider_first(user: Any) -> None:
    price("small", input=Decimal(1), output=Decimal(1))
    price("small", NOW, input=Decimal(2), output=Decimal(2))
    price("small", NOW + timedelta(hours=2), provider="aws", input=Decimal(5), output=Decimal(5))
    price("small", NOW + timedelta(hours=4), input=None, output=None)
    of_kinds = [
        ("", timedelta(microseconds=-1), 1),
        ("", timedelta(), 2),
        ("aws", timedelta(hours=1), 2),
        ("aws", timedelta(hours=2), 5),
        ("", timedelta(hours=3), 2),
        ("aws", timedelta(hours=5), 5),
    ]
    for provider, later, _cost in of_kinds:
        record(user, model="small", provider=provider, input_tokens=1_000_000, at=NOW + later)
    record(user, model="small", input_tokens=1_000_000, at=NOW + timedelta(hours=4))
    record(user, model="large", input_tokens=1_000_000)
    roll_up()
    assert UsageDay.objects.aggregate(cost=Sum("cost"), unpriced=Sum("unpriced")) == {
        "cost": sum(cost for _provider, _later, cost in of_kinds),
        "unpriced": 2,
    }


def test_revenue_of_a_lot_adds_up_to_what_was_paid_whatever_the_parts(user: Any) -> None:
    tokens.grant(user, 7, source="purchase", paid=Money(Decimal("10.00"), "USD"))
    for number in range(7):
        tokens.consume(user, 1, key=f"use:{number}", model="small", used_at=NOW)
    roll_up()
    row = RevenueDay.objects.get()
    assert (row.kind, row.model, row.currency, row.amount, row.tokens) == ("use", "small", "USD", Decimal(10), 7)
    assert AccountRevenue.objects.get().amount == Decimal(10)


def test_a_refund_takes_revenue_back_and_an_expiry_earns_the_rest(user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(NOW)
    clock.start(monkeypatch)
    ends_at = NOW + timedelta(days=1)
    tokens.grant(user, 100, source="purchase", paid=Money(Decimal(50), "EUR"), expires_at=ends_at)
    tokens.consume(user, 40, key="use", feature="chat")
    tokens.refund("use", 10, key="back", reason="Failed.")
    roll_up()
    assert dict(RevenueDay.objects.values_list("kind", "amount")) == {"use": Decimal(20), "refund": Decimal(-5)}
    tokens.expire(as_of=clock.at(ends_at))
    roll_up()
    assert RevenueDay.objects.get(kind="expire").amount == Decimal(35)
    assert RevenueDay.objects.aggregate(n=Sum("amount"))["n"] == Decimal(50)


def test_what_members_draw_is_revenue_by_the_member(user: Any) -> None:
    pool = new_pool(user)
    tokens.grant(pool, 10, source="purchase", paid=Money(Decimal(10), "USD"))
    tokens.consume(user, 4, key="use")
    roll_up()
    revenue = AccountRevenue.objects.get()
    assert (revenue.account.user_id, revenue.amount) == (user.pk, Decimal(4))


def test_movements_of_the_ledger_are_summed_by_day_kind_and_source(user: Any) -> None:
    tokens.grant(user, 100, source="plan")
    tokens.consume(user, 30, key="use")
    roll_up()
    found = set(FlowDay.objects.values_list("kind", "source", "entries", "tokens"))
    assert found == {("grant", "plan", 1, 100), ("consume", "plan", 1, -30)}
    assert FlowDay.objects.aggregate(n=Sum("tokens"))["n"] == tokens.balance(user).available


def test_new_categories_get_colours_in_the_order_of_their_tokens(user: Any) -> None:
    for number in range(7):
        record(user, 100 - number, model=f"model-{number}")
    roll_up()
    slots = ChartSlot.objects.filter(dimension="model").order_by("pk").values_list("name", "slot")
    assert list(slots) == [(f"model-{number}", slot) for number, slot in enumerate([1, 2, 3, 4, 6, 0, 0])]


@pytest.mark.django_db(transaction=True)
def test_a_fold_adds_what_is_new_and_nothing_twice() -> None:
    user = new_user()
    tokens.grant(user, 100, source="purchase", paid=Money(Decimal(9), "USD"))
    record(user, 10)
    analytics.fold()
    assert analytics.fold() == analytics.Folded(changed=0)
    record(user, 5, at=NOW - timedelta(days=200))
    tokens.consume(user, 30, key="use")
    analytics.fold()
    assert rolled() == by_hand()
    assert analytics.verify() == []
    assert not FoldQueue.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_random_histories_are_folded_and_made_anew_alike(settings: Any) -> None:
    settings.TOKEN_PRICING = {"REPORTING_ZONE": "America/St_Johns"}
    rng = random.Random(11)
    price("a"), price("b", NOW - timedelta(days=20), cached_read=Decimal("0.123456")), price("b", provider="x")
    users = new_users(6)
    pool = new_pool(*users[:3])
    tokens.grant(pool, 5_000, source="purchase", paid=Money(Decimal("33.33"), "EUR"))
    for user in users:
        tokens.grant(user, rng.randint(500, 900), source="purchase", paid=Money(Decimal("7.77"), "USD"))
    used: list[str] = []
    for number in range(150):
        facts: dict[str, Any] = {
            "model": rng.choice(["a", "b", "c", ""]),
            "feature": rng.choice(["chat", ""]),
            "provider": rng.choice(["", "x"]),
            "used_at": NOW - timedelta(minutes=rng.randint(0, 100_000)),
        }
        if rng.random() < 0.8:
            facts["input_tokens"] = rng.randint(0, 9_999)
            facts["cached_tokens"] = rng.randint(0, facts["input_tokens"])
        if rng.random() < 0.2:
            facts["cost"] = Decimal(rng.randint(0, 10**9)).scaleb(-10)
        if rng.random() < 0.6:
            amount = rng.randint(0, 12)
            tokens.consume(rng.choice(users), amount, key=f"use:{number}", **facts)
            used += [f"use:{number}"] * (amount > 0)
        else:
            tokens.record_many([tokens.Use(rng.choice(users), rng.randint(0, 99), **facts)])
        if used and rng.random() < 0.1:
            tokens.refund(used.pop(), reason="Failed.")
        if rng.random() < 0.15:
            analytics.fold()
    analytics.fold()
    expected = by_hand()
    assert rolled() == expected
    assert analytics.verify() == []
    UsageDay.objects.filter(pk__lte=5).update(tokens=0)
    analytics.rebuild()
    assert rolled() == expected


@pytest.mark.django_db(transaction=True)
def test_a_difference_is_named_and_made_good() -> None:
    user = new_user()
    record(user, 10, model="small")
    record(user, 3, at=NOW - timedelta(days=60))
    analytics.fold()
    UsageDay.objects.filter(day=NOW.date()).update(tokens=11)
    AccountMonth.objects.filter(month=date(2026, 1, 1)).delete()
    found = analytics.verify()
    assert [
        (each.table, each.rolled and each.rolled["tokens"], each.rows and each.rows["tokens"]) for each in found
    ] == [
        (UsageDay._meta.db_table, 11, 10),
        (AccountMonth._meta.db_table, None, 3),
    ]
    assert "tokens 11 instead of 10" in str(found[0])
    assert analytics.verify(date(2026, 1, 1), date(2026, 2, 1))[0].key["month"] == date(2026, 1, 1)
    analytics.rebuild(date(2026, 1, 1), date(2026, 2, 1))
    assert [each.table for each in analytics.verify()] == [UsageDay._meta.db_table]
    analytics.rebuild(date(2026, 3, 1), date(2026, 4, 1))
    assert analytics.verify() == []


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_is_still_open_delays_and_loses_nothing() -> None:
    """A row with a lower number that commits later is the one that “all above the last one seen” would lose."""
    from django.db import connections

    user = new_user()
    record(user, 1)
    slow = connections.create_connection("default")
    with slow.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT pg_current_xact_id()")
        begun_at = timezone.now()
        record(user, 2)
        analytics.fold()
        assert UsageDay.objects.get().tokens == 1
        # Figures say how far they reach, not when somebody tried.
        state = analytics.rollup_state()
        assert state is not None
        assert state.folded_at is not None
        assert state.folded_at <= begun_at
        assert analytics.verify() == []
        cursor.execute(
            "INSERT INTO django_token_pricing_tokenusagelog"
            " (account_id, amount, is_charged, used_at, booked_at, tier, key, provider, model, feature, metadata)"
            " SELECT account_id, 4, false, used_at, booked_at, '', '', '', '', '', '{}'"
            " FROM django_token_pricing_tokenusagelog LIMIT 1"
        )
        cursor.execute("COMMIT")
    slow.close()
    analytics.fold()
    assert UsageDay.objects.get().tokens == 7


@pytest.mark.django_db(transaction=True)
def test_a_fold_inside_of_a_transaction_loses_nothing_that_it_writes_later() -> None:
    user = new_user()
    with transaction.atomic():
        record(user, 1)
        analytics.fold()
        record(user, 2)
    analytics.fold()
    assert UsageDay.objects.get().tokens == 3
    assert analytics.verify() == []


@pytest.mark.django_db(transaction=True)
def test_late_uses_of_pruned_months_are_folded_after_all_was_made_anew() -> None:
    user = new_user()
    old = timezone.now() - timedelta(days=100)
    record(user, 10, at=old)
    analytics.fold()
    tokens.prune(timezone.now(), reason="Retention.")
    record(user, 5, at=old)
    analytics.rebuild()
    analytics.fold()
    assert UsageDay.objects.get().tokens == 15


@pytest.mark.django_db(transaction=True)
def test_another_zone_stops_the_fold_until_all_is_made_anew(settings: Any) -> None:
    record(new_user(), at=datetime(2026, 3, 31, 18, 45, tzinfo=tz.utc))
    analytics.fold()
    settings.TOKEN_PRICING = {"REPORTING_ZONE": "Asia/Kolkata"}
    for deed in (analytics.fold, analytics.verify, lambda: analytics.rebuild(date(2026, 3, 1))):
        with pytest.raises(analytics.RollupsElsewhere, match="Asia/Kolkata"):
            deed()  # type: ignore[operator]
    analytics.rebuild()
    assert UsageDay.objects.get().day == date(2026, 4, 1)
    assert analytics.verify() == []


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_copy_in_another_cluster_is_made_anew_and_counts_nothing_twice() -> None:
    """Transaction ids begin anew there, and one day reach those that the copied rows came with."""
    user = new_user()
    record(user, 1)
    analytics.fold()
    ahead = RollupState.objects.get().horizon + 10_000
    with connection.cursor() as cursor, transaction.atomic():
        cursor.execute("SET LOCAL token_pricing.maintenance = 'on'")
        cursor.execute("UPDATE django_token_pricing_tokenusagelog SET xid = %s", [ahead - 1])
    RollupState.objects.update(horizon=ahead)
    record(user, 2)
    with pytest.raises(analytics.RollupsElsewhere):
        analytics.fold()
    analytics.rebuild()
    analytics.fold()
    assert UsageDay.objects.get().tokens == 3
    assert not TokenUsageLog.objects.filter(xid__gte=ahead - 1).exists()


@pytest.mark.django_db(transaction=True)
def test_months_that_were_pruned_are_neither_checked_nor_made_anew() -> None:
    user = new_user()
    old = timezone.now() - timedelta(days=100)
    record(user, 10, at=old)
    analytics.fold()
    tokens.prune(timezone.now(), reason="Retention.")
    assert not TokenUsageLog.objects.exists()
    month = old.date().replace(day=1)
    for deed in (analytics.verify, analytics.rebuild):
        with pytest.raises(analytics.RollupsPruned):
            deed(month)
    assert analytics.verify() == []
    analytics.rebuild()
    assert UsageDay.objects.get().tokens == 10


@pytest.mark.django_db(transaction=True)
def test_pruning_leaves_what_was_not_rolled_up_yet() -> None:
    user = new_user()
    analytics.fold()
    tokens.grant(user, 5, source="plan")
    tokens.consume(user, 5, key="use")
    record(user, 10, at=timezone.now() - timedelta(days=1))
    counts = tokens.prune(timezone.now(), reason="Retention.")
    assert (counts.uses, counts.entries) == (0, 0)
    analytics.fold()
    assert UsageDay.objects.aggregate(n=Sum("tokens"))["n"] == 15
    counts = tokens.prune(timezone.now(), reason="Retention.")
    assert (counts.uses, counts.entries) == (2, 2)


@pytest.mark.parametrize(
    ("first", "until"), [(date(2026, 3, 2), None), (None, date(2026, 3, 2)), (date(2026, 3, 1), date(2026, 3, 1))]
)
def test_only_whole_months_can_be_asked_for(db: None, first: date | None, until: date | None) -> None:
    for deed in (analytics.verify, analytics.rebuild):
        with pytest.raises(analytics.InvalidPeriod):
            deed(first, until)


def test_days_of_the_zone_bound_a_month(user: Any, settings: Any) -> None:
    settings.TOKEN_PRICING = {"REPORTING_ZONE": "Pacific/Auckland"}
    end = datetime(2026, 4, 1, tzinfo=ZoneInfo("Pacific/Auckland"))
    record(user, 1, at=end - timedelta(microseconds=1))
    record(user, 2, at=end)
    roll_up()
    analytics.rebuild(date(2026, 3, 1), date(2026, 4, 1))
    assert list(UsageDay.objects.order_by("day").values_list("day", "tokens")) == [
        (date(2026, 3, 31), 1),
        (date(2026, 4, 1), 2),
    ]


def test_entries_of_the_ledger_are_queued_or_numbered(user: Any) -> None:
    tokens.grant(user, 5, source="plan")
    if connection.vendor == "postgresql":
        assert LedgerEntry.objects.get().xid is not None
    else:
        assert list(FoldQueue.objects.values_list("kind", "row")) == [("entry", LedgerEntry.objects.get().pk)]
