"""Subtracting, setting a balance, refunding, and carrying a lot over."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from django_token_pricing import tokens
from django_token_pricing.models import AuditEvent, LedgerEntry, TokenAccount, TokenAllocation, TokenUsageLog
from tests.tokens.clock import Clock
from tests.world import new_pool, new_user

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
REASON: dict[str, Any] = {"reason": "a slip", "actor": None}


def give(owner: Any, amount: int = 100, **terms: Any) -> int:
    return tokens.grant(owner, amount, source="manual", **terms).allocation


def has(owner: Any) -> tuple[int, int]:
    balance = tokens.balance(owner)
    return balance.available, balance.held


def left(lot: int) -> int:
    return TokenAllocation.objects.get(pk=lot).remaining


# Subtracting


def test_subtracting_takes_own_lots_in_burn_order(user: Any) -> None:
    pool = new_pool(user)
    late, early = give(user), give(user, priority=1)
    give(pool)
    answer = tokens.subtract(user, 130, **REASON)
    assert (answer.lots, answer.balance_after) == ([(early, 100), (late, 30)], 70)
    with pytest.raises(tokens.InsufficientTokens):
        tokens.subtract(user, 71, **REASON)


def test_subtracting_leaves_what_is_held(user: Any) -> None:
    give(user)
    tokens.hold(user, 40, key="k")
    with pytest.raises(tokens.InsufficientTokens) as refusal:
        tokens.subtract(user, 61, **REASON)
    assert refusal.value.available == 60
    tokens.subtract(user, 60, **REASON)
    assert has(user) == (0, 40)
    assert tokens.settle("k", 40).amount == 40


# Voiding a lot, releasing by a person


def test_voiding_takes_what_is_left_of_one_lot_but_for_what_is_held(user: Any) -> None:
    lot, other = give(user, priority=1), give(user)
    tokens.consume(user, 10, key="c")
    tokens.hold(user, 30, key="h")
    answer = tokens.void(TokenAllocation.objects.get(pk=lot), **REASON)
    assert (answer.amount, answer.lots, answer.balance_after) == (60, [(lot, 60)], 100)
    assert (left(lot), left(other), has(user)) == (30, 100, (100, 30))
    assert tokens.settle("h", 30).amount == 30
    with pytest.raises(tokens.InsufficientTokens):
        tokens.void(TokenAllocation.objects.get(pk=lot), **REASON)


def test_a_lot_can_be_voided_before_it_starts_and_not_after_it_ended(user: Any, clock: Clock) -> None:
    waiting = TokenAllocation.objects.get(pk=give(user, starts_at=clock.now + DAY))
    ended = TokenAllocation.objects.get(pk=give(user, expires_at=clock.now + DAY))
    assert tokens.void(waiting, **REASON).amount == 100
    clock.on(days=2)
    with pytest.raises(tokens.InsufficientTokens):
        tokens.void(ended, **REASON)


def test_voiding_again_with_its_key_gives_the_first_answer(user: Any) -> None:
    lot, other = (TokenAllocation.objects.get(pk=give(user)) for _ in range(2))
    first = tokens.void(lot, key="v", **REASON)
    tokens.consume(user, 1, key="c")
    again = tokens.void(lot, key="v", **REASON)
    assert again.replayed
    assert again == first
    with pytest.raises(tokens.IdempotencyConflict):
        tokens.void(other, key="v", **REASON)


def test_who_released_a_hold_and_why_is_in_the_audit_trail(user: Any) -> None:
    give(user)
    tokens.hold(user, 30, key="h")
    tokens.hold(user, 30, key="by itself")
    tokens.release("by itself")
    assert tokens.release("h", reason="The job hangs", actor=user).amount == 30
    assert tokens.release("h", reason="The job hangs", actor=user).replayed
    event = AuditEvent.objects.action("tokens.release").get()
    assert (event.actor, event.reason, event.changes) == (user, "The job hangs", {"held": [30, 0]})


@pytest.mark.parametrize("reason", ["", "  "])
def test_corrections_need_a_reason(user: Any, reason: Any) -> None:
    give(user)
    tokens.consume(user, 1, key="k")
    for call in (
        lambda: tokens.subtract(user, 1, reason=reason, actor=None),
        lambda: tokens.set_balance(user, 1, reason=reason, actor=None),
        lambda: tokens.refund("k", reason=reason),
        lambda: tokens.void(TokenAllocation.objects.get(), reason=reason, actor=None),
    ):
        with pytest.raises(ValueError, match="reason"):
            call()
    assert has(user) == (99, 0)


# Setting


def test_setting_a_balance_grants_one_lot_or_subtracts(user: Any) -> None:
    lot = give(user)
    up = tokens.set_balance(user, 150, **REASON)
    assert (up.amount, up.balance_after) == (150, 150)
    assert TokenAllocation.objects.exclude(pk=lot).get().source == "manual"
    down = tokens.set_balance(user, 30, **REASON)
    assert (down.balance_after, down.lots[0]) == (30, (lot, 100))
    assert has(user) == (30, 0)


def test_setting_what_is_there_moves_nothing(user: Any) -> None:
    give(user)
    before = LedgerEntry.objects.count()
    answer = tokens.set_balance(user, 100, **REASON)
    assert (answer.lots, answer.balance_after, LedgerEntry.objects.count()) == ([], 100, before)


@pytest.mark.parametrize("amount", [10, 60, 200])
def test_setting_a_balance_never_touches_what_is_held(user: Any, amount: int) -> None:
    give(user)
    tokens.hold(user, 40, key="k")
    tokens.set_balance(user, amount, **REASON)
    assert has(user) == (amount, 40)
    assert tokens.settle("k", 40).balance_after == amount


def test_setting_a_balance_leaves_lots_that_wait_or_have_expired(user: Any, clock: Clock) -> None:
    waiting, expired = give(user, starts_at=clock.now + 9 * DAY), give(user, expires_at=clock.now + DAY)
    clock.on(days=2)
    tokens.set_balance(user, 30, **REASON)
    assert has(user) == (30, 0)
    assert (left(waiting), left(expired)) == (100, 100)
    assert tokens.balance(user).total == 130


# Refunding


def test_a_full_refund_gives_back_to_the_lots_that_paid(user: Any) -> None:
    first, second = give(user, 10), give(user, 10)
    tokens.consume(user, 15, key="k")
    answer = tokens.refund("k", reason="r")
    assert (answer.amount, answer.balance_after, answer.lapsed) == (15, 20, 0)
    assert answer.lots == [(second, 5), (first, 10)]
    assert (left(first), left(second)) == (10, 10)


def test_a_partial_refund_goes_to_the_last_that_paid_first(user: Any) -> None:
    lots = [give(user, 10), give(user, 10), give(user, 10)]
    tokens.consume(user, 25, key="k")
    assert tokens.refund("k", 3, key="a", reason="r").lots == [(lots[2], 3)]
    assert tokens.refund("k", 9, key="b", reason="r").lots == [(lots[2], 2), (lots[1], 7)]
    assert tokens.refund("k", reason="r").lots == [(lots[1], 3), (lots[0], 10)]
    assert has(user) == (30, 0)


def test_no_more_is_refunded_than_was_drawn(user: Any) -> None:
    give(user)
    tokens.consume(user, 25, key="k")
    with pytest.raises(tokens.InvalidAmount):
        tokens.refund("k", 26, key="a", reason="r")
    tokens.refund("k", 20, key="b", reason="r")
    with pytest.raises(tokens.InvalidAmount):
        tokens.refund("k", 6, key="c", reason="r")
    assert tokens.refund("k", 5, key="d", reason="r").balance_after == 100
    with pytest.raises(tokens.InvalidAmount):
        tokens.refund("k", reason="r")
    assert has(user) == (100, 0)


def test_a_partial_refund_needs_a_key_of_its_own(user: Any) -> None:
    give(user)
    tokens.consume(user, 25, key="k")
    with pytest.raises(tokens.InvalidKey):
        tokens.refund("k", 5, reason="r")


def test_a_settled_hold_is_refunded_by_its_key(user: Any) -> None:
    give(user)
    tokens.hold(user, 30, key="k")
    tokens.settle("k", 20)
    assert tokens.refund("k", reason="r").amount == 20
    assert has(user) == (100, 0)


def test_a_use_without_a_key_is_refunded_by_its_row(user: Any) -> None:
    give(user)
    tokens.consume(user, 20, key=None)
    assert tokens.refund(TokenUsageLog.objects.get(), reason="r").amount == 20


def test_a_use_that_drew_nothing_is_not_refunded(user: Any) -> None:
    tokens.consume(user, 0, key="k")
    with pytest.raises(tokens.InvalidAmount):
        tokens.refund("k", reason="r")


@pytest.mark.parametrize("swept", [False, True])
def test_a_refund_to_an_expired_lot_lapses_at_once_and_says_so(user: Any, clock: Clock, swept: bool) -> None:
    expiring, lasting = give(user, 50, expires_at=clock.now + DAY), give(user, 50)
    tokens.consume(user, 70, key="k")
    clock.on(days=2)
    if swept:
        tokens.expire(as_of=clock.now)
    answer = tokens.refund("k", reason="r")
    assert (answer.amount, answer.lapsed, answer.balance_after) == (70, 50, 50)
    assert (left(expiring), left(lasting)) == (0, 50)
    assert has(user) == (50, 0)
    assert tokens.expire(as_of=clock.on(seconds=1)).tokens == 0


def test_a_partial_refund_to_an_expired_lot_says_what_lapsed(user: Any, clock: Clock) -> None:
    give(user, 50, expires_at=clock.now + DAY), give(user, 50)
    tokens.consume(user, 70, key="k")
    clock.on(days=2)
    answer = tokens.refund("k", 30, key="r", reason="r")
    assert (answer.amount, answer.lapsed, answer.balance_after) == (30, 10, 50)


def test_a_refund_to_the_pool_may_lapse_there(user: Any, clock: Clock) -> None:
    pool = new_pool(user, cap=40)
    give(user, 10), give(pool, 50, expires_at=clock.now + DAY)
    tokens.consume(user, 50, key="k")
    clock.on(days=2)
    answer = tokens.refund("k", reason="r")
    assert (answer.amount, answer.lapsed, answer.balance_after) == (50, 40, 10)
    assert has(pool) == (0, 0)
    give(pool, 50)
    assert tokens.balance(user).spendable == 50


def test_what_was_refunded_can_be_spent_again(user: Any) -> None:
    give(user, 10)
    for turn in range(5):
        tokens.consume(user, 10, key=f"k{turn}")
        tokens.refund(f"k{turn}", reason="r")
    assert has(user) == (10, 0)


def test_every_correction_is_audited_with_who_and_why(user: Any) -> None:
    clerk, lot = new_user(), give(user)
    tokens.consume(user, 10, key="k")
    tokens.subtract(user, 5, reason="too many", actor=clerk)
    tokens.set_balance(user, 50, reason="as agreed", actor=clerk)
    tokens.refund("k", reason="it failed", actor=clerk)
    tokens.rollover(TokenAllocation.objects.get(pk=lot), expires_at=None, reason="renewed", actor=clerk)
    events = list(AuditEvent.objects.by(clerk).order_by("pk").values_list("action", "reason"))
    assert events == [
        ("tokens.subtract", "too many"),
        ("tokens.set", "as agreed"),
        ("tokens.refund", "it failed"),
        ("tokens.rollover", "renewed"),
    ]
    assert LedgerEntry.objects.filter(event__actor=clerk).count() == 5


# Carrying over


def test_a_rollover_moves_the_rest_into_a_new_lot(user: Any, clock: Clock) -> None:
    old = give(user, expires_at=clock.now + DAY, priority=7, paid=("10", "EUR"))
    tokens.consume(user, 60, key="k")
    answer = tokens.rollover(TokenAllocation.objects.get(pk=old), expires_at=clock.now + 30 * DAY)
    new = TokenAllocation.objects.get(pk=answer.allocation)
    assert (answer.amount, answer.balance_after, new.parent_id, new.priority) == (40, 40, old, 7)
    assert (new.source, new.expires_at, left(old)) == ("rollover", clock.now + 30 * DAY, 0)
    assert (new.paid_amount, new.paid_currency) == (Decimal(4), "EUR")
    clock.on(days=2)
    assert has(user) == (40, 0)


def test_a_rollover_of_part_leaves_the_rest(user: Any) -> None:
    old = give(user)
    assert tokens.rollover(TokenAllocation.objects.get(pk=old), 30, expires_at=None, priority=1).amount == 30
    assert left(old) == 70
    assert has(user) == (100, 0)
    assert tokens.consume(user, 31, key="k").lots[1] == (old, 1)


def test_a_rollover_leaves_what_is_held(user: Any) -> None:
    old = give(user)
    tokens.hold(user, 40, key="k")
    assert tokens.rollover(TokenAllocation.objects.get(pk=old), expires_at=None).amount == 60
    with pytest.raises(tokens.InsufficientTokens):
        tokens.rollover(TokenAllocation.objects.get(pk=old), expires_at=None)
    assert has(user) == (60, 40)
    assert tokens.settle("k", 40).lots == [(old, 40)]


def test_a_rollover_of_more_than_is_left_is_refused(user: Any) -> None:
    old = TokenAllocation.objects.get(pk=give(user))
    tokens.consume(user, 60, key="k")
    with pytest.raises(tokens.InsufficientTokens):
        tokens.rollover(old, 41, expires_at=None)
    assert has(user) == (40, 0)


def test_a_rollover_into_the_past_is_refused(user: Any, clock: Clock) -> None:
    old = TokenAllocation.objects.get(pk=give(user))
    with pytest.raises(tokens.InvalidMoment):
        tokens.rollover(old, expires_at=clock.now - DAY)
    assert has(user) == (100, 0)


def test_whether_an_expired_lot_is_carried_over_does_not_depend_on_the_sweep(user: Any, clock: Clock) -> None:
    """The sweep changes no answer; and what has expired pays nobody any more."""
    lots = [TokenAllocation.objects.get(pk=give(owner, expires_at=clock.now + DAY)) for owner in (user, new_user())]
    clock.on(days=2)

    def outcome(lot: TokenAllocation) -> object:
        try:
            return tokens.rollover(lot, expires_at=None).amount
        except tokens.InsufficientTokens as error:
            return error.available

    before = outcome(lots[0])
    tokens.expire(as_of=clock.now)
    assert outcome(lots[1]) == before


def test_a_lot_that_waits_is_not_started_by_changing_its_end(user: Any, clock: Clock) -> None:
    old = TokenAllocation.objects.get(pk=give(user, starts_at=clock.now + 9 * DAY))
    answer = tokens.rollover(old, expires_at=clock.now + 90 * DAY)
    assert answer.balance_after == 0
    assert has(user) == (0, 0)
    assert tokens.balance(user).total == 100


def test_a_refund_after_a_rollover_goes_to_the_lot_that_paid(user: Any) -> None:
    old = give(user)
    tokens.consume(user, 30, key="k")
    tokens.rollover(TokenAllocation.objects.get(pk=old), expires_at=None)
    assert tokens.refund("k", reason="r").lots == [(old, 30)]
    assert left(old) == 30
    assert has(user) == (100, 0)


def test_a_pools_lots_are_corrected_like_a_users() -> None:
    pool = new_pool()
    lot = TokenAllocation.objects.get(pk=give(pool))
    tokens.subtract(pool, 10, **REASON)
    tokens.rollover(lot, expires_at=None)
    tokens.consume(pool, 10, key="k")
    tokens.refund("k", reason="r")
    assert tokens.set_balance(pool, 5, **REASON).balance_after == 5


# A user who is deleted


def test_deleting_a_user_closes_the_account_and_keeps_the_books(user: Any) -> None:
    pool = new_pool(user)
    give(user), give(pool)
    tokens.consume(user, 120, key="k")
    tokens.hold(user, 10, key="h")
    tokens.grant(user, 5, source="manual", actor=user)
    account = TokenAccount.objects.get(user=user)
    entries = account.entries.count()
    user.delete()
    account.refresh_from_db()
    assert account.is_closed
    assert account.entries.count() == entries
    assert (account.allocations.count(), account.usage.count(), account.holds.count()) == (2, 1, 1)
    assert tokens.balance(account).available == 5
    assert tokens.statement(account).count() == entries


def test_what_a_deleted_user_left_open_can_be_ended(user: Any, clock: Clock) -> None:
    pool = new_pool(user, cap=500)
    give(user), give(pool)
    for key in ("a", "b", "c"):
        tokens.hold(user, 50, key=key, ttl=60)
    tokens.consume(user, 20, key="use")
    account = TokenAccount.objects.get(user=user)
    user.delete()
    account.refresh_from_db()
    assert tokens.settle("a", 40).amount == 40
    assert tokens.release("b").amount == 50
    assert tokens.refund("use", reason="r").amount == 20
    clock.on(seconds=61)
    with pytest.raises(tokens.InsufficientTokens):
        tokens.settle("c", 61)
    assert tokens.settle("c", 50).amount == 50
    assert tokens.balance(account).available == 10
    assert has(pool) == (100, 0)


def test_a_closed_account_owns_nothing_new(user: Any) -> None:
    give(user)
    account = TokenAccount.objects.get(user=user)
    user.delete()
    account.refresh_from_db()
    for call in (
        lambda: tokens.consume(account, 1, key="k"),
        lambda: tokens.hold(account, 1, key="k"),
        lambda: tokens.grant(account, 1, source="manual"),
    ):
        with pytest.raises(tokens.UnknownOwner):
            call()


def test_keys_of_a_deleted_user_stay_taken(user: Any) -> None:
    give(user)
    tokens.consume(user, 1, key="k")
    user.delete()
    other = new_user()
    give(other)
    with pytest.raises(tokens.IdempotencyConflict):
        tokens.consume(other, 1, key="k")
