"""The mirrors hold the host's newest facts, in whatever order and however often it tells them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import permutations
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_token_pricing.adapters import PaymentEvent, PaymentFacts, SubscriptionEvent, SubscriptionFacts
from django_token_pricing.exceptions import AdapterError, InvalidInput
from django_token_pricing.models import PaymentMirror, SubscriptionMirror, SyncCursor, TokenAccount
from django_token_pricing.models import SubscriptionEvent as StoredEvent
from django_token_pricing.payments import SyncResult, sync, sync_payments, sync_subscriptions
from tests.payments.billing import Billing

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
START = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
NOW = START + 300 * DAY


def told(ref: str = "sub-1", occurred_at: datetime = START, **facts: Any) -> SubscriptionEvent:
    return SubscriptionEvent(occurred_at, SubscriptionFacts(**{"ref": ref, "user": None, "status": "active", **facts}))


def paid(ref: str = "pay-1", occurred_at: datetime = START, **facts: Any) -> PaymentEvent:
    given = {"ref": ref, "user": None, "status": "succeeded", "amount": Decimal(10), "currency": "EUR", **facts}
    return PaymentEvent(occurred_at, PaymentFacts(**given))


def run(**arguments: Any) -> SyncResult:
    return sync_subscriptions(**{"as_of": NOW, **arguments})


def mirror(ref: str = "sub-1") -> SubscriptionMirror:
    return SubscriptionMirror.objects.get(external_ref=ref)


def read_until() -> datetime | None:
    return SyncCursor.objects.get(name="subscriptions").read_until


@pytest.fixture
def batches_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "BATCH", 2)


# Facts


def test_a_subscription_is_mirrored_with_all_its_facts(host: Billing, new_user: Callable[[], Any]) -> None:
    user = new_user()
    berlin = ZoneInfo("Europe/Berlin")
    moments = {
        "period_starts_at": datetime(2026, 3, 1, 0, 0, 0, 123456, tzinfo=berlin),
        "period_ends_at": datetime(2026, 4, 1, tzinfo=berlin),
        "anchor_at": datetime(2025, 3, 1, tzinfo=berlin),
        "trial_ends_at": datetime(2026, 3, 8, tzinfo=berlin),
        "cancel_at": datetime(2026, 9, 1, tzinfo=berlin),
    }
    words = {
        "status": "past_due",
        "tier": "gold",
        "plan_code": "pro",
        "price_ref": "price-7",
        "currency": "EUR",
        "region": "EU",
        "time_zone": "Europe/Berlin",
    }
    host.events = [told(user=str(user.pk), quantity=3, **words, **moments)]
    assert (run().changed, run().changed) == (1, 0)
    row = mirror()
    assert {name: getattr(row, name) for name in [*words, *moments]} == {**words, **moments}
    assert (row.user, row.quantity, row.occurred_at, row.gone_at, row.synced_at) == (user, 3, START, None, NOW)


def test_a_payment_is_mirrored_with_all_its_facts(till: Billing, new_user: Callable[[], Any]) -> None:
    user = new_user()
    facts = {
        "status": "partly_refunded",
        "amount": Decimal("19.9"),
        "refunded_amount": Decimal("0.0005"),
        "currency": "KWD",
        "subscription_ref": "sub-1",
        "paid_at": START,
        "description": "März",
    }
    till.events = [paid(user=user.pk, **facts)]
    assert sync_payments(as_of=NOW).changed == 1
    assert sync_payments(as_of=NOW).changed == 0
    row = PaymentMirror.objects.get(external_ref="pay-1")
    assert {name: getattr(row, name) for name in facts} == facts
    assert row.user == user


@pytest.mark.parametrize(
    ("first", "second"), [("19.9", "19.9000"), ("0", "-0.00"), ("1E+3", "1000")], ids=["zeros", "minus", "exponent"]
)
def test_one_amount_written_in_two_ways_is_one_fact(till: Billing, first: str, second: str) -> None:
    till.events = [paid(amount=Decimal(first)), paid(amount=Decimal(second))]
    assert sync_payments(as_of=NOW).new_events == 1


def test_references_that_differ_in_case_are_two_subscriptions(host: Billing) -> None:
    host.events = [told("sub-a"), told("sub-A", tier="gold")]
    run()
    assert (mirror("sub-a").tier, mirror("sub-A").tier) == ("", "gold")


# The fold


@pytest.mark.usefixtures("batches_of_two")
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_newest_event_wins_in_whatever_order_they_are_told(host: Billing, order: tuple[int, ...]) -> None:
    host.events = [told(occurred_at=START + day * DAY, tier=f"tier-{day}") for day in order]
    assert run().new_events == 3
    assert (mirror().tier, mirror().occurred_at) == ("tier-2", START + 2 * DAY)


def test_a_late_event_is_kept_but_does_not_override_newer_facts(host: Billing) -> None:
    host.events = [told(occurred_at=START + DAY, tier="gold")]
    run()
    host.events.append(told(occurred_at=START, tier="silver"))
    result = run(full=True)
    assert (result.new_events, result.changed, mirror().tier) == (1, 0, "gold")


def test_of_two_events_at_one_moment_the_one_told_last_wins_for_good(host: Billing) -> None:
    host.events = [told(tier="silver"), told(tier="gold")]
    run()
    assert mirror().tier == "gold"
    host.events.reverse()
    assert (run(full=True).changed, mirror().tier) == (0, "gold")


@pytest.mark.django_db(transaction=True)
def test_an_event_told_twice_is_stored_once_and_announced_once(host: Billing, announced: list[list[str]]) -> None:
    elsewhere = START.astimezone(ZoneInfo("Asia/Tokyo"))
    host.events = [told(cancel_at=START), told("sub-2"), told(occurred_at=elsewhere, cancel_at=elsewhere)]
    first = run(as_of=START)
    again = run(as_of=NOW)
    assert (first.read, first.new_events, first.changed) == (3, 2, 2)
    assert (again.read, again.new_events, again.changed) == (3, 0, 0)
    assert mirror().synced_at == START
    assert announced == [["sub-1", "sub-2"]]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("batches_of_two")
def test_each_batch_announces_what_it_changed(host: Billing, till: Billing, announced: list[list[str]]) -> None:
    host.events = [told(f"sub-{number}") for number in range(3)]
    till.events = [paid()]
    run()
    host.events[0] = told("sub-0", START + DAY)
    run()
    sync_payments(as_of=NOW)
    assert announced == [["sub-0", "sub-1"], ["sub-2"], ["sub-0"], ["pay-1"]]


# Users


def test_an_unknown_user_is_told_once_and_holds_nothing_back(host: Billing, new_user: Callable[[], Any]) -> None:
    stranger = new_user()
    pk = stranger.pk
    stranger.delete()
    host.events = [told(user=pk)]
    first, again = run(), run(full=True)
    assert (first.refused, len(first.problems), first.problems[0].ref) == (0, 1, "sub-1")
    assert str(pk) in str(first.problems[0])
    assert (again.problems, mirror().user, read_until()) == ((), None, START)


def test_a_user_who_comes_later_is_found_when_the_event_is_read_again(
    host: Billing, new_user: Callable[[], Any]
) -> None:
    user = new_user()
    pk = user.pk
    user.delete()
    host.events = [told(user=pk)]
    run()
    user.pk = pk
    user.save(force_insert=True)
    assert (run().changed, mirror().user) == (1, user)


def test_a_user_whom_the_host_deleted_is_no_problem(host: Billing, new_user: Callable[[], Any]) -> None:
    user = new_user()
    host.events = [told(user=user.pk)]
    run()
    pk = user.pk
    user.delete()
    host.events.append(told(occurred_at=START + DAY, user=pk, status="canceled"))
    result = run()
    assert (result.problems, mirror().user, mirror().status) == ((), None, "canceled")


# What is refused


REFUSED: dict[str, Any] = {
    "naive moment": told("bad", START.replace(tzinfo=None)),
    "day for a moment": told("bad", START.date()),  # type: ignore[arg-type]
    "future": told("bad", NOW + 6 * MINUTE),
    "naive period": told("bad", period_ends_at=datetime(2026, 4, 1)),  # noqa: DTZ001
    "endless period": told("bad", period_ends_at=datetime.max.replace(tzinfo=timezone(-DAY / 2))),
    "empty period": told("bad", period_starts_at=START, period_ends_at=START),
    "status": told("bad", status="alive"),
    "no status": told("bad", status=""),
    "no reference": told(""),
    "number for a reference": told(7),  # type: ignore[arg-type]
    "long reference": told("x" * 151),
    "NUL": told("bad\0"),
    "half a surrogate pair": told("bad", region="\ud83d"),
    "long tier": told("bad", tier="x" * 65),
    "no tier": told("bad", tier=None),
    "time zone": told("bad", time_zone="Mars/Olympus"),
    "path for a time zone": told("bad", time_zone="../../etc/passwd"),
    "currency": told("bad", currency="eur"),
    "no quantity": told("bad", quantity=0),
    "half a quantity": told("bad", quantity=1.5),
    "quantity beyond the column": told("bad", quantity=2**31),
    "name for a key": told("bad", user="anna"),
    "float for a key": told("bad", user=1.5),
    "key beyond any column": told("bad", user=2**200),
    "nothing": None,
    "payment": paid("bad"),
}


@pytest.mark.parametrize("event", REFUSED.values(), ids=REFUSED.keys())
def test_an_event_that_cannot_be_stored_is_a_problem_and_stops_nothing(host: Billing, event: Any) -> None:
    host.events = [told("good"), event, told("better")]
    result = run()
    assert (result.read, result.refused, result.changed) == (3, 1, 2)
    assert [type(problem) for problem in result.problems] == [AdapterError]
    assert result.problems[0].adapter == "tests.payments.billing.Subscriptions"
    assert str(result.problems[0]).isprintable()
    assert set(SubscriptionMirror.objects.values_list("external_ref", flat=True)) == {"good", "better"}


@pytest.mark.parametrize(
    "facts",
    [
        {"amount": 10.0},
        {"amount": "10.00"},
        {"amount": Decimal("-1")},
        {"amount": Decimal("NaN")},
        {"amount": Decimal("1E15")},
        {"amount": Decimal("0.00005")},
        {"refunded_amount": Decimal(11)},
        {"currency": ""},
        {"description": "x" * 256},
    ],
    ids=str,
)
def test_a_payment_that_cannot_be_stored_is_a_problem(till: Billing, facts: dict[str, Any]) -> None:
    till.events = [paid(**facts), paid("pay-2", amount=Decimal("-0"))]
    result = sync_payments(as_of=NOW)
    assert (result.refused, result.problems[0].ref, result.changed) == (1, "pay-1", 1)


@pytest.mark.parametrize("moment", [START, START.replace(tzinfo=None)], ids=["known moment", "naive moment"])
def test_a_refused_event_is_read_again_until_the_host_mended_it(host: Billing, moment: datetime) -> None:
    host.events = [told("old", START - DAY)]
    run()
    host.events += [told("bad", moment, currency="?"), told("good", START + DAY)]
    assert (run().refused, run().refused) == (1, 1)
    assert read_until() == (START if moment.tzinfo else START - DAY)
    host.events[1] = told("bad")
    assert (run().refused, run().refused) == (0, 0)
    assert (mirror("bad").currency, read_until()) == ("", START + DAY)


def test_of_very_many_problems_a_thousand_are_kept_and_all_are_counted(host: Billing) -> None:
    host.events = [None] * 1_500
    result = run()
    assert (result.refused, len(result.problems)) == (1_500, 1_000)


def test_a_naive_as_of_is_refused() -> None:
    with pytest.raises(InvalidInput):
        run(as_of=NOW.replace(tzinfo=None))


# The cursor


def test_the_next_sync_reads_on_a_little_before_the_last_event(host: Billing) -> None:
    host.events = [told(occurred_at=START)]
    run()
    host.events.append(told("late", START - 9 * MINUTE))
    assert run().new_events == 1
    assert host.asked == [None, START - 10 * MINUTE]
    assert read_until() == START


@pytest.mark.usefixtures("batches_of_two")
def test_after_a_failure_half_way_the_next_sync_goes_on_from_the_last_batch(host: Billing) -> None:
    host.events = [told(f"sub-{hour}", START + hour * timedelta(hours=1)) for hour in range(6)]
    host.fails_after = 5
    with pytest.raises(AdapterError) as raised:
        run()
    assert isinstance(raised.value.__cause__, ConnectionError)
    assert "the billing system is away" in str(raised.value)
    assert (SubscriptionMirror.objects.count(), read_until()) == (4, START + timedelta(hours=3))
    host.fails_after = None
    assert run().new_events == 2
    assert host.asked[1] == START + timedelta(hours=3) - 10 * MINUTE
    assert SyncCursor.objects.get(name="subscriptions").synced_at == NOW


@pytest.mark.usefixtures("batches_of_two")
def test_events_out_of_order_move_the_cursor_only_when_all_are_read(host: Billing) -> None:
    host.events = [told(f"sub-{day}", START + day * DAY) for day in (7, 8, 3, 4, 1)]
    host.fails_after = 4
    with pytest.raises(AdapterError):
        run()
    assert (SubscriptionMirror.objects.count(), read_until()) == (4, None)
    host.fails_after = None
    assert (run().new_events, read_until()) == (1, START + 8 * DAY)


def test_a_sync_does_not_pass_what_another_refused_meanwhile(host: Billing) -> None:
    host.events = [told("old", START - DAY)]
    run()

    def overtake() -> None:
        host.meanwhile = lambda: None
        host.events.append(told("bad", START, currency="?"))
        assert run(full=True).refused == 1

    host.events.append(told("new", START + DAY))
    host.meanwhile = overtake
    assert run().refused == 0
    assert read_until() == START


# What is gone


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("batches_of_two")
def test_what_the_host_no_longer_has_is_gone_after_a_full_sync_only(host: Billing, announced: list[list[str]]) -> None:
    host.events = [told(f"sub-{number}") for number in range(4)]
    run()
    host.refs = ["sub-2", "unheard of"]
    assert run().gone == 0
    assert SyncCursor.objects.get(name="subscriptions").full_at is None
    assert run(full=True).gone == 3
    assert [mirror(f"sub-{number}").gone_at for number in range(4)] == [NOW, NOW, None, NOW]
    assert announced[2:] == [["sub-0", "sub-1"], ["sub-3"]]
    assert run(full=True, as_of=NOW + DAY).gone == 0
    assert mirror("sub-0").gone_at == NOW
    assert SyncCursor.objects.get(name="subscriptions").full_at == NOW + DAY


def test_a_reference_that_comes_back_is_no_longer_gone(host: Billing) -> None:
    host.events = [told("listed"), told("told")]
    host.refs = []
    assert run(full=True).gone == 2
    host.refs = ["listed"]
    host.events.append(told("told", START + MINUTE))
    assert (run().changed, mirror("told").gone_at) == (1, None)
    assert (run(full=True).changed, mirror("listed").gone_at) == (1, None)


def test_history_that_is_told_again_brings_nothing_back(host: Billing) -> None:
    host.events = [told(occurred_at=START)]
    host.refs = []
    run(full=True)
    host.events.insert(0, told(occurred_at=START - MINUTE))
    result = run(as_of=NOW + DAY)
    assert (result.new_events, result.changed, mirror().gone_at) == (1, 0, NOW)


@pytest.mark.parametrize("refs", [["away"], ["sub-1", 2]], ids=["raises", "not a text"])
def test_nothing_is_gone_where_the_host_cannot_list_what_it_has(host: Billing, refs: list[Any]) -> None:
    host.events = [told("sub-1"), told("sub-2")]
    host.refs = refs
    with pytest.raises(AdapterError):
        run(full=True)
    assert SubscriptionMirror.objects.filter(gone_at=None).count() == 2
    assert SyncCursor.objects.get(name="subscriptions").full_at is None


# Cost and company


def test_queries_grow_by_batch_and_not_by_row(
    host: Billing, monkeypatch: pytest.MonkeyPatch, new_user: Callable[[], Any]
) -> None:
    if connection.vendor == "sqlite":  # where Django cuts statements by a number of parameters of its own
        monkeypatch.setattr(type(connection.features), "max_query_params", 30_000)
    users = [new_user() for _ in range(30)]
    for user in users:
        TokenAccount.objects.create(user=user)
    run()

    def queries(count: int, day: int) -> int:
        host.events = [told(f"sub-{n}", START + day * DAY, user=users[n % 30].pk, tier=str(day)) for n in range(count)]
        with CaptureQueriesContext(connection) as captured:
            assert run().changed == count
        return len(captured)

    assert queries(30, day=1) == queries(300, day=2) == queries(300, day=3)
    monkeypatch.setattr(sync, "BATCH", 100)
    assert queries(300, day=4) < 3 * queries(100, day=5)


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
def test_syncs_at_the_same_time_store_and_announce_everything_once(
    host: Billing,
    announced: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    in_parallel: Callable[[Any], list[Any]],
) -> None:
    monkeypatch.setattr(sync, "BATCH", 20)
    host.events = [told(f"sub-{number}", START + number * MINUTE) for number in range(200)]
    results = in_parallel([run] * 4)
    assert sum(result.new_events for result in results) == 200
    assert sum(result.changed for result in results) == 200
    assert StoredEvent.objects.count() == SubscriptionMirror.objects.count() == 200
    assert sorted(ref for refs in announced for ref in refs) == sorted(f"sub-{number}" for number in range(200))
    run()
    assert read_until() == START + 199 * MINUTE
