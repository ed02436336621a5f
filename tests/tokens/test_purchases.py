"""Packages: a payment buys once, at the price of its currency, within the cap, and can be taken back once."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_token_pricing import signals, tokens
from django_token_pricing.exceptions import InvalidInput, TokenPricingError
from django_token_pricing.lib.money import Money
from django_token_pricing.models import (
    AuditEvent,
    LedgerEntry,
    Purchase,
    TokenAllocation,
    TokenPackage,
)
from tests.tokens.clock import Clock, noon
from tests.tokens.shop import buy, package
from tests.world import new_pool, new_user

pytestmark = pytest.mark.django_db


# Buying


def test_a_payment_gives_a_lot_that_knows_what_was_paid(user: Any) -> None:
    pack = package(priority=70)
    done = buy(user)
    assert (done.tokens, done.paid, done.balance_after, done.replayed) == (1_000, Money("9", "EUR"), 1_000, False)
    assert str(done.paid) == "EUR 9.00"
    lot = TokenAllocation.objects.get(pk=done.allocation)
    assert (lot.source, lot.amount, lot.priority, lot.expires_at) == ("purchase", 1_000, 70, None)
    assert (lot.paid_amount, lot.paid_currency) == (9, "EUR")
    made = Purchase.objects.get(pk=done.purchase)
    assert (made.package, made.account.user, made.payment_ref, made.tokens) == (pack, user, "pay-1", 1_000)
    assert (made.amount, made.currency, made.purchased_at) == (9, "EUR", done.booked_at)
    event = AuditEvent.objects.get()
    assert (event.action, event.changes["package"], event.changes["paid"]) == (
        "tokens.purchase",
        [None, "pack"],
        [None, "EUR 9.00"],
    )
    with pytest.raises(FrozenInstanceError):
        done.tokens = 5  # type: ignore[misc]


def test_a_package_can_be_given_as_its_row_or_by_its_code(user: Any) -> None:
    pack = package()
    assert buy(user) == tokens.purchase(user, pack, payment_ref="pay-1", currency="EUR")


def test_several_cost_and_give_as_many_times_as_much(user: Any) -> None:
    package(prices={"EUR": "0.3333"})
    done = buy(user, quantity=3)
    assert (done.tokens, done.paid, done.quantity) == (3_000, Money("0.9999", "EUR"), 3)


def test_the_currency_is_that_given_or_paid_or_of_the_settings(user: Any) -> None:
    package()
    assert buy(user, "a", currency="USD").paid == Money("10.50", "USD")
    assert buy(user, "b", currency=None, paid=("9.00", "EUR")).paid == Money("9", "EUR")
    assert buy(user, "c", currency=None).paid == Money("10.50", "USD")


def test_its_tokens_last_to_the_end_of_the_last_day_in_the_sites_zone(user: Any, clock: Clock, settings: Any) -> None:
    settings.TIME_ZONE = "America/New_York"
    package(validity_days=30)
    # It is still the evening of the 14th in New York, and summer time ends there within these days.
    clock.at(noon(2031, 10, 15).replace(hour=2))
    lot = TokenAllocation.objects.get(pk=buy(user).allocation)
    assert lot.expires_at == datetime(2031, 11, 14, tzinfo=ZoneInfo("America/New_York"))


def test_signals_tell_after_the_commit_and_once(user: Any, django_capture_on_commit_callbacks: Any) -> None:
    package()
    told: list[Any] = []

    def listen(sender: Any, result: Any, **kwargs: Any) -> None:
        told.append((sender, result))

    for signal in (signals.tokens_purchased, signals.tokens_granted):
        signal.connect(listen)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            done = buy(user)
            assert told == []
        with django_capture_on_commit_callbacks(execute=True):
            assert buy(user).replayed
    finally:
        for signal in (signals.tokens_purchased, signals.tokens_granted):
            signal.disconnect(listen)
    (lots, granted), (sender, result) = told
    assert (lots, granted.amount, granted.allocation) == (TokenAllocation, 1_000, done.allocation)
    assert (sender, result) == (Purchase, done)


def test_a_host_that_rolls_back_has_sold_nothing(user: Any) -> None:
    package()
    with pytest.raises(RuntimeError), transaction.atomic():
        buy(user)
        raise RuntimeError
    assert not Purchase.objects.exists()
    assert not buy(user).replayed


# The same payment again


def test_it_gives_the_first_answer_again(user: Any) -> None:
    package()
    first = buy(user)
    tokens.consume(user, 400, key="use")
    again = buy(user)
    assert again == first
    assert again.replayed
    assert Purchase.objects.count() == TokenAllocation.objects.count() == 1


def test_it_does_so_after_the_package_changed_or_was_switched_off(user: Any) -> None:
    pack = package(per_user=1)
    first = buy(user)
    pack.prices.all().delete()
    TokenPackage.objects.update(is_active=False, tokens=5, name="Other")
    assert buy(user) == first


def test_other_facts_are_a_conflict(user: Any) -> None:
    package()
    package("other")
    buy(user)
    for call in (
        partial(buy, new_user()),
        partial(buy, user, quantity=2),
        partial(tokens.purchase, user, "other", payment_ref="pay-1", currency="EUR"),
        partial(tokens.grant, user, 1_000, source="purchase", key="purchase:pay-1"),
    ):
        with pytest.raises(tokens.IdempotencyConflict):
            call()
    assert LedgerEntry.objects.count() == 1


def test_references_that_a_collation_takes_for_the_same_are_different(user: Any) -> None:
    package()
    for ref in ("ref", "REF", "réf", "ref "):
        assert not buy(user, ref).replayed


@pytest.mark.parametrize("ref", ["", None, 7, "x" * 192, "nul\0"])
def test_a_reference_is_text_that_fits(user: Any, ref: Any) -> None:
    package()
    with pytest.raises(tokens.InvalidKey):
        buy(user, ref)
    assert not Purchase.objects.exists()


# Refusals


def test_what_is_not_for_sale_is_not_sold(user: Any) -> None:
    package(is_active=False)
    with pytest.raises(tokens.PackageUnavailable) as refused:
        buy(user)
    assert (refused.value.code, refused.value.package, refused.value.currency) == (
        "package_unavailable",
        "pack",
        "EUR",
    )
    for given, currency in (("none", "EUR"), ("PACK", "EUR"), (TokenPackage(code="new"), "EUR")):
        with pytest.raises(tokens.PackageUnavailable):
            tokens.purchase(user, given, payment_ref="x", currency=currency)
    TokenPackage.objects.update(is_active=True)
    with pytest.raises(tokens.PackageUnavailable, match="no price in GBP"):
        buy(user, currency="GBP")
    assert not LedgerEntry.objects.exists()


def test_another_sum_than_the_price_is_refused_unless_it_was_agreed_on(user: Any) -> None:
    package()
    for paid in (("8.99", "EUR"), Money("9", "USD")):
        with pytest.raises(tokens.PaymentMismatch) as refused:
            buy(user, paid=paid)
    assert (refused.value.price, refused.value.paid) == (Money("9", "EUR"), Money("9", "USD"))
    assert "costs EUR 9.00, and USD 9.00 was paid" in refused.value.message
    done = buy(user, paid=("7.20", "EUR"), agreed=("7.20", "EUR"))
    lot = TokenAllocation.objects.get(pk=done.allocation)
    assert (lot.paid_amount, lot.paid_currency) == (Decimal("7.2"), "EUR")
    with pytest.raises(tokens.PaymentMismatch):
        buy(user, "pay-2", paid=("7.20", "EUR"), agreed=("7", "EUR"))
    with pytest.raises(tokens.InvalidUsage):
        buy(user, "pay-2", agreed=("7", "GBP"))


@pytest.mark.parametrize("quantity", [0, -1, True, 1.0, "2", 2**31])
def test_a_quantity_is_a_whole_number_above_nothing(user: Any, quantity: Any) -> None:
    package()
    with pytest.raises(tokens.InvalidUsage):
        buy(user, quantity=quantity)


def test_more_than_can_be_counted_is_refused(user: Any) -> None:
    package(tokens=2**62)
    with pytest.raises(tokens.InvalidAmount):
        buy(user, quantity=2)
    assert not Purchase.objects.exists()


def test_pools_and_nobody_buy_nothing() -> None:
    package()
    for owner in (new_pool(), None, "me"):
        with pytest.raises(tokens.UnknownOwner):
            buy(owner)


def test_a_user_buys_as_many_as_one_may_and_repeats_do_not_count(user: Any) -> None:
    package(per_user=3)
    buy(user, "a", quantity=2)
    buy(user, "a", quantity=2)
    with pytest.raises(tokens.PurchaseCapReached) as refused:
        buy(user, "b", quantity=2)
    facts = {"package": "pack", "limit": 3, "used": 2, "requested": 2}
    assert (refused.value.code, refused.value.facts) == ("purchase_cap_reached", facts)
    buy(user, "c")
    with pytest.raises(tokens.PurchaseCapReached):
        buy(user, "d")
    buy(new_user(), "e")


def test_what_was_taken_back_whole_may_be_bought_again(user: Any) -> None:
    package(per_user=1)
    buy(user, "a")
    tokens.refund_purchase("a", reason="Bought by mistake")
    buy(user, "b")
    tokens.consume(user, 1, key="use")
    tokens.refund_purchase("b", reason="Again")
    with pytest.raises(tokens.PurchaseCapReached):
        buy(user, "c")


def test_after_a_refusal_the_hosts_transaction_goes_on(user: Any) -> None:
    package(per_user=1)
    with transaction.atomic():
        buy(user, "a")
        with pytest.raises(TokenPricingError):
            buy(user, "b")
        tokens.grant(user, 5, source="manual")
    assert tokens.balance(user).available == 1_005


def test_the_database_keeps_a_reference_and_what_is_taken_back_in_order(user: Any) -> None:
    package()
    made = Purchase.objects.get(pk=buy(user).purchase)
    for wrong in ({"taken_back": 1_001, "taken_back_at": timezone.now()}, {"taken_back": 5}, {"quantity": 0}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Purchase.objects.filter(pk=made.pk).update(**wrong)
    made.pk = None
    with pytest.raises(IntegrityError), transaction.atomic():
        made.save(force_insert=True)


# What is on sale


def test_a_shop_sees_what_is_on_sale_in_order_and_how_many_are_left(user: Any) -> None:
    package("b", place=2, per_user=2, validity_days=30)
    package("a", place=1)
    package("off", is_active=False)
    package("elsewhere", prices={"GBP": "1"})
    tokens.purchase(user, "b", payment_ref="x", currency="EUR")
    found = tokens.packages_for(user, "EUR")
    assert [(o.code, o.tokens, o.price, o.validity_days, o.left) for o in found] == [
        ("a", 1_000, Money("9", "EUR"), None, None),
        ("b", 1_000, Money("9", "EUR"), 30, 1),
    ]
    tokens.purchase(user, "b", payment_ref="y", currency="EUR")
    assert tokens.packages_for(user, "EUR")[1].left == 0
    assert [offer.left for offer in tokens.packages_for(None, "EUR")] == [None, 2]
    assert [str(offer.price) for offer in tokens.packages_for(new_user())] == ["USD 10.50", "USD 10.50"]


def test_it_takes_two_queries_however_many_packages_there_are(user: Any) -> None:
    for number in range(2):
        for place in range(10 * number + 1):
            package(f"p{number}-{place}")
        with CaptureQueriesContext(
            connection,
        ) as queries:
            tokens.packages_for(user, "EUR")
        assert len(queries) == 2


# Taking back


def test_what_is_left_is_taken_and_the_rest_reported(user: Any) -> None:
    package()
    tokens.grant(user, 50, source="manual", priority=200)
    buy(user)
    tokens.consume(user, 300, key="use")
    tokens.hold(user, 100, key="job")
    admin = new_user()
    done = tokens.refund_purchase("pay-1", reason="Charged back", actor=admin)
    assert (done.taken, done.rest, done.balance_after, done.replayed) == (600, 400, 50, False)
    made = Purchase.objects.get()
    assert (made.taken_back, made.taken_back_at) == (600, done.booked_at)
    event = AuditEvent.objects.action("tokens.refund_purchase").get()
    assert (event.actor, event.reason, event.changes["taken_back"]) == (admin, "Charged back", [0, 600])
    # What was held can still be used.
    tokens.settle("job", 100)
    assert tokens.balance(user).available == 50


def test_it_is_done_once_with_whichever_key(user: Any) -> None:
    package()
    buy(user)
    first = tokens.refund_purchase("pay-1", reason="r", key="k")
    for key in ("k", None, "other"):
        again = tokens.refund_purchase("pay-1", reason="r", key=key)
        assert again == first
        assert again.replayed
    assert LedgerEntry.objects.count() == 2


def test_a_key_of_something_else_is_a_conflict(user: Any) -> None:
    package()
    buy(user)
    tokens.grant(user, 5, source="manual", key="k")
    with pytest.raises(tokens.IdempotencyConflict):
        tokens.refund_purchase("pay-1", reason="r", key="k")


def test_nothing_left_is_an_answer_too(user: Any) -> None:
    package()
    buy(user)
    tokens.consume(user, 1_000, key="use")
    done = tokens.refund_purchase("pay-1", reason="Charged back")
    assert (done.taken, done.rest) == (0, 1_000)
    assert Purchase.objects.get().taken_back_at == done.booked_at
    assert tokens.refund_purchase("pay-1", reason="Charged back").replayed


def test_what_was_carried_over_into_other_lots_is_found(user: Any) -> None:
    package()
    lot = TokenAllocation.objects.get(pk=buy(user).allocation)
    ends = timezone.now() + timedelta(days=9)
    second = TokenAllocation.objects.get(pk=tokens.rollover(lot, 600, expires_at=ends).allocation)
    tokens.rollover(second, 200, expires_at=ends + timedelta(days=1))
    tokens.consume(user, 100, key="use")
    done = tokens.refund_purchase("pay-1", reason="r")
    assert (done.taken, done.rest, done.balance_after) == (900, 100, 0)


def test_what_has_expired_is_not_taken(user: Any, clock: Clock) -> None:
    package(validity_days=1)
    buy(user)
    clock.on(days=3)
    assert tokens.refund_purchase("pay-1", reason="r").taken == 0


def test_unknown_payments_and_missing_reasons_are_refused(user: Any) -> None:
    package()
    with pytest.raises(tokens.UnknownKey):
        tokens.refund_purchase("pay-1", reason="r")
    buy(user)
    with pytest.raises(InvalidInput):
        tokens.refund_purchase("pay-1", reason=" ")
    assert Purchase.objects.get().taken_back_at is None
