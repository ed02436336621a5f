"""What an idempotency key promises."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from django_token_pricing import tokens
from django_token_pricing.models import IdempotencyKey, LedgerEntry, TokenAllocation, TokenHold, TokenUsageLog
from tests.tokens.clock import Clock
from tests.world import new_pool, new_user

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
REASON: dict[str, Any] = {"reason": "r", "actor": None}


def give(owner: Any, amount: int = 100, **terms: Any) -> int:
    return tokens.grant(owner, amount, source="manual", **terms).allocation


def rows() -> tuple[int, ...]:
    return tuple(model.objects.count() for model in (LedgerEntry, TokenUsageLog, TokenHold, TokenAllocation))


def same(first: Any, again: Any) -> None:
    """Equal but for `replayed`."""
    assert again.replayed
    assert not first.replayed
    assert again == first
    assert type(again) is type(first)


@pytest.mark.parametrize(
    "key", ["x", "x" * 200, "🙂" * 200, "ключ", "a b\tc\n", "'; DROP TABLE --", "%s %(a)s {}", "\\", "\x01\x7f"]
)
def test_a_key_is_any_text_of_up_to_200_characters(user: Any, key: str) -> None:
    give(user)
    first = tokens.consume(user, 5, key=key)
    same(first, tokens.consume(user, 5, key=key))
    assert TokenUsageLog.objects.get().key == key


@pytest.mark.parametrize("key", ["", "x" * 201, "a\x00b", "\x00", "\ud800", 5, b"key", True, ("a",)], ids=ascii)
def test_what_is_no_such_text_is_refused_as_a_key(user: Any, key: Any) -> None:
    give(user)
    for call in (
        lambda: tokens.consume(user, 5, key=key),
        lambda: tokens.hold(user, 5, key=key),
        lambda: tokens.settle(key, 5),
        lambda: tokens.release(key),
        lambda: tokens.grant(user, 5, source="manual", key=key),
        lambda: tokens.subtract(user, 5, key=key, **REASON),
        lambda: tokens.refund(key, reason="r"),
        lambda: tokens.Use(user, 5, key=key),
    ):
        with pytest.raises(tokens.InvalidKey):
            call()


def test_holds_settling_and_releasing_need_a_key(user: Any) -> None:
    for call in (
        lambda: tokens.hold(user, 5, key=None),  # type: ignore[arg-type]
        lambda: tokens.settle(None, 5),  # type: ignore[arg-type]
        lambda: tokens.release(None),  # type: ignore[arg-type]
        lambda: tokens.refund(None, reason="r"),  # type: ignore[arg-type]
    ):
        with pytest.raises(tokens.InvalidKey):
            call()


def test_keys_that_differ_at_all_are_different(user: Any) -> None:
    """In case, in a trailing space, in composition, in width: whatever a database's collation may say."""
    give(user)
    keys = ["key", "KEY", "Key", "key ", " key", "kéy", "ke\u0301y", "ｋｅｙ", "kèy", "ß", "ss", "ı", "i"]
    for key in keys:
        assert not tokens.consume(user, 1, key=key).replayed
    assert tokens.balance(user).available == 100 - len(keys)


def test_without_a_key_every_call_counts(user: Any) -> None:
    give(user)
    tokens.consume(user, 5, key=None)
    assert tokens.consume(user, 5, key=None).balance_after == 90


# Replays


def test_a_replayed_grant_gives_the_first_answer_again(user: Any) -> None:
    first = tokens.grant(user, 5, source="plan", key="k", priority=3)
    tokens.consume(user, 5, key="l")
    before = rows()
    same(first, tokens.grant(user, 5, source="plan", key="k", priority=9, expires_at=None))
    assert rows() == before


def test_a_replayed_use_gives_the_first_answer_again(user: Any) -> None:
    pool = new_pool(user, cap=50)
    give(user, 10), give(pool, 10)
    first = tokens.consume(user, 15, key="k", model="m")
    give(user)
    before = rows()
    same(first, tokens.consume(user, 15, key="k", model="another"))
    assert len(first.lots) == 2
    assert rows() == before


def test_a_replayed_hold_gives_the_first_answer_again_whatever_became_of_it(user: Any) -> None:
    give(user)
    first = tokens.hold(user, 5, key="k", ttl=60).result
    same(first, tokens.hold(user, 5, key="k", ttl=99).result)
    tokens.settle("k", 3)
    before = rows()
    same(first, tokens.hold(user, 5, key="k").result)
    assert rows() == before


def test_a_replayed_settlement_gives_the_first_answer_again(user: Any) -> None:
    pool = new_pool(user)
    give(user, 10), give(pool, 10)
    tokens.hold(user, 12, key="k")
    first = tokens.settle("k", 14, model="m")
    give(user)
    before = rows()
    same(first, tokens.settle("k", 14))
    assert rows() == before


def test_a_replayed_release_gives_the_first_answer_again(user: Any) -> None:
    give(user)
    tokens.hold(user, 5, key="k")
    first = tokens.release("k")
    tokens.consume(user, 50, key="l")
    same(first, tokens.release("k"))
    assert (first.amount, first.balance_after) == (5, 100)


def test_a_replayed_release_of_a_void_hold_gives_the_first_answer_again(user: Any, clock: Clock) -> None:
    give(user)
    tokens.hold(user, 5, key="k", ttl=60)
    clock.on(seconds=61)
    first = tokens.release("k")
    assert (first.amount, first.balance_after) == (0, 100)
    same(first, tokens.release("k"))


@pytest.mark.parametrize("amount", [None, 4])
def test_a_replayed_refund_gives_the_first_answer_again(user: Any, clock: Clock, amount: int | None) -> None:
    pool = new_pool(user)
    give(user, 10, expires_at=clock.now + DAY), give(user, 1), give(pool, 10)
    tokens.consume(user, 14, key="use")
    clock.on(days=2)
    key = None if amount is None else "r"
    first = tokens.refund("use", amount, key=key, reason="r")
    before = rows()
    same(first, tokens.refund("use", amount, key=key, reason="another"))
    assert rows() == before


def test_refunds_at_one_stopped_moment_keep_their_own_answers(user: Any, clock: Clock) -> None:
    """A frozen clock, as in hosts' tests, gives moments one tick apart."""
    give(user, 100)
    tokens.consume(user, 50, key="use")
    first = tokens.refund("use", 5, key="a", reason="r")
    second = tokens.refund("use", 7, key="b", reason="r")
    same(first, tokens.refund("use", 5, key="a", reason="r"))
    same(second, tokens.refund("use", 7, key="b", reason="r"))


@pytest.mark.parametrize("verb", [tokens.subtract, tokens.set_balance])
@pytest.mark.parametrize("amount", [30, 150])
def test_a_replayed_correction_gives_the_first_answer_again(user: Any, verb: Callable[..., Any], amount: int) -> None:
    give(user, 60), give(user, 140)
    first = verb(user, amount, key="k", **REASON)
    tokens.consume(user, 5, key="l")
    before = rows()
    same(first, verb(user, amount, key="k", **REASON))
    assert rows() == before


def test_a_replayed_set_balance_that_granted_gives_the_first_answer_again(user: Any) -> None:
    first = tokens.set_balance(user, 70, key="k", **REASON)
    tokens.consume(user, 5, key="l")
    same(first, tokens.set_balance(user, 70, key="k", **REASON))
    assert tokens.balance(user).available == 65


def test_a_replayed_rollover_gives_the_first_answer_again(user: Any) -> None:
    lot = TokenAllocation.objects.get(pk=give(user))
    first = tokens.rollover(lot, expires_at=None, key="k")
    tokens.consume(user, 5, key="l")
    same(first, tokens.rollover(lot, expires_at=None, key="k"))
    assert tokens.balance(user).available == 95


def test_a_grant_is_replayed_though_its_lot_has_expired(user: Any, clock: Clock) -> None:
    terms: dict[str, Any] = {"source": "manual", "key": "k", "expires_at": clock.now + DAY}
    first = tokens.grant(user, 5, **terms)
    clock.on(days=3)
    tokens.expire(as_of=clock.now)
    same(first, tokens.grant(user, 5, **terms))


def test_a_use_is_replayed_though_nothing_is_left_and_the_lot_has_expired(user: Any, clock: Clock) -> None:
    give(user, 5, expires_at=clock.now + DAY)
    first = tokens.consume(user, 5, key="k")
    clock.on(days=3)
    same(first, tokens.consume(user, 5, key="k"))


def test_a_use_is_replayed_though_its_user_has_left_the_pool(user: Any) -> None:
    pool = new_pool(user)
    give(pool)
    first = tokens.consume(user, 5, key="k")
    pool.members.all().delete()
    same(first, tokens.consume(user, 5, key="k"))


# Conflicts

FIRST: dict[str, Callable[[Any], Any]] = {
    "grant": lambda user: tokens.grant(user, 5, source="manual", key="k"),
    "consume": lambda user: tokens.consume(user, 5, key="k"),
    "hold": lambda user: tokens.hold(user, 5, key="k"),
    "subtract": lambda user: tokens.subtract(user, 5, key="k", **REASON),
    "set_balance": lambda user: tokens.set_balance(user, 5, key="k", **REASON),
    "refund": lambda user: tokens.refund("used", 5, key="k", reason="r"),
    "rollover": lambda user: tokens.rollover(TokenAllocation.objects.order_by("pk")[0], 5, expires_at=None, key="k"),
}


@pytest.mark.parametrize("other", FIRST)
@pytest.mark.parametrize("verb", FIRST)
def test_a_key_of_one_verb_is_refused_by_another(user: Any, verb: str, other: str) -> None:
    give(user)
    tokens.consume(user, 20, key="used")
    FIRST[verb](user)
    before = rows()
    if verb == other:
        again = FIRST[verb](user)
        assert getattr(again, "result", again).replayed
    else:
        with pytest.raises(tokens.IdempotencyConflict) as conflict:
            FIRST[other](user)
        assert (conflict.value.code, conflict.value.key) == ("idempotency_conflict", "k")
    assert rows() == before


def test_a_key_of_another_owner_is_refused(user: Any) -> None:
    other, pool = new_user(), new_pool(user)
    for owner in (user, other, pool):
        give(owner)
    tokens.consume(user, 5, key="c")
    tokens.hold(user, 5, key="h")
    tokens.grant(user, 5, source="manual", key="g")
    before = rows()
    for owner in (other, pool):
        for call in (
            lambda owner=owner: tokens.consume(owner, 5, key="c"),
            lambda owner=owner: tokens.hold(owner, 5, key="h"),
            lambda owner=owner: tokens.grant(owner, 5, source="manual", key="g"),
        ):
            with pytest.raises(tokens.IdempotencyConflict):
                call()
    assert rows() == before


def test_another_amount_is_refused(user: Any) -> None:
    give(user)
    tokens.consume(user, 5, key="c")
    tokens.hold(user, 5, key="h")
    tokens.grant(user, 5, source="manual", key="g")
    tokens.refund("c", 2, key="r", reason="r")
    tokens.hold(user, 5, key="s")
    tokens.settle("s", 4)
    before = rows()
    for call in (
        lambda: tokens.consume(user, 6, key="c"),
        lambda: tokens.consume(user, 0, key="c"),
        lambda: tokens.hold(user, 6, key="h"),
        lambda: tokens.grant(user, 6, source="manual", key="g"),
        lambda: tokens.refund("c", 1, key="r", reason="r"),
        lambda: tokens.refund("c", key="r", reason="r"),
        lambda: tokens.settle("s", 5),
        lambda: tokens.settle("s", 0),
    ):
        with pytest.raises(tokens.IdempotencyConflict):
            call()
    assert rows() == before


def test_another_source_is_refused_for_a_grant(user: Any) -> None:
    tokens.grant(user, 5, source="manual", key="g")
    with pytest.raises(tokens.IdempotencyConflict):
        tokens.grant(user, 5, source="plan", key="g")


def test_another_use_is_refused_for_a_refund(user: Any) -> None:
    give(user)
    tokens.consume(user, 5, key="a")
    tokens.consume(user, 5, key="b")
    tokens.refund("a", 2, key="r", reason="r")
    with pytest.raises(tokens.IdempotencyConflict):
        tokens.refund("b", 2, key="r", reason="r")


def test_other_facts_than_verb_owner_and_amount_do_not_matter(user: Any) -> None:
    give(user)
    tokens.consume(user, 5, key="k", model="a", metadata={"n": 1})
    assert tokens.consume(user, 5, key="k", model="b", cost=3).replayed
    assert TokenUsageLog.objects.get().model == "a"


def test_conflicts_say_the_same_on_both_paths(user: Any, settings: Any, path: str) -> None:
    give(user)
    tokens.hold(user, 5, key="h")
    tokens.consume(user, 5, key="c")
    tokens.hold(user, 5, key="settled")
    tokens.settle("settled", 4)
    tokens.hold(user, 5, key="released")
    tokens.release("released")
    said = []
    for each in ("auto", "portable"):
        settings.TOKEN_PRICING = {"LEDGER_PATH": each}
        facts = []
        for call in (
            lambda: tokens.consume(user, 5, key="h"),
            lambda: tokens.hold(user, 5, key="c"),
            lambda: tokens.consume(new_user(), 5, key="c"),
            lambda: tokens.settle("c", 5),
            lambda: tokens.release("c"),
            lambda: tokens.settle("settled", 5),
            lambda: tokens.release("settled"),
            lambda: tokens.settle("released", 5),
            lambda: tokens.settle("unknown", 5),
            lambda: tokens.consume(user, 500, key="new"),
        ):
            with pytest.raises(
                tokens.TokenPricingError if hasattr(tokens, "TokenPricingError") else Exception
            ) as error:
                call()
            facts.append((type(error.value), {name: str(value) for name, value in error.value.facts.items()}))
        said.append(facts)
    assert said[0] == said[1]


# Refusals


def test_a_refusal_is_not_remembered(user: Any) -> None:
    for verb in (tokens.consume, tokens.hold):
        key = verb.__name__
        with pytest.raises(tokens.InsufficientTokens):
            verb(user, 5, key=key)
    with pytest.raises(tokens.InsufficientTokens):
        tokens.subtract(user, 5, key="s", **REASON)
    assert not IdempotencyKey.objects.exists()
    give(user)
    assert tokens.consume(user, 5, key="consume").balance_after == 95
    assert tokens.hold(user, 6, key="hold").balance_after == 89
    assert tokens.subtract(user, 7, key="s", **REASON).balance_after == 82


def test_a_refused_key_may_be_used_for_something_else(user: Any) -> None:
    with pytest.raises(tokens.InsufficientTokens):
        tokens.consume(user, 5, key="k")
    assert not tokens.grant(new_user(), 8, source="manual", key="k").replayed


def test_a_refused_settlement_is_not_remembered(user: Any) -> None:
    give(user, 10)
    tokens.hold(user, 5, key="k")
    with pytest.raises(tokens.InsufficientTokens):
        tokens.settle("k", 11)
    assert tokens.balance(user).held == 5
    assert not tokens.settle("k", 5).replayed


def test_a_key_that_was_rolled_back_is_free_again(user: Any) -> None:
    give(user)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        tokens.consume(user, 5, key="k")
        1 / 0  # noqa: B018
    assert tokens.consume(new_user(), 0, key="k").replayed is False


def test_unknown_keys_are_named(user: Any) -> None:
    give(user)
    tokens.hold(user, 5, key="open")
    for call in (
        lambda: tokens.settle("nothing", 5),
        lambda: tokens.release("nothing"),
        lambda: tokens.refund("nothing", reason="r"),
        lambda: tokens.refund("open", reason="r"),
    ):
        with pytest.raises(tokens.UnknownKey) as error:
            call()
        assert error.value.code == "unknown_key"


# Keys of a batch


def test_the_key_of_a_batch_makes_a_key_for_each_owner_on_every_way_to_name_them(user: Any) -> None:
    """`key:owner`, whether the rows were counted in Python or never left the database."""
    pool = new_pool()
    prefix = "Mai 🙂"
    everyone = type(user)._base_manager.filter(pk=user.pk)
    assert tokens.grant_many(everyone, 5, source="plan", key=prefix).granted == 1
    assert tokens.grant_many([tokens.GrantRow(user, 5)], source="plan", key=prefix).replayed == 1
    assert tokens.grant(user, 5, source="plan", key=f"{prefix}:{user.pk}").replayed
    assert tokens.grant_many(type(pool).objects.filter(pk=pool.pk), 5, source="plan", key=prefix).granted == 1
    assert tokens.grant_many([tokens.GrantRow(pool, 5)], source="plan", key=prefix).replayed == 1
    assert tokens.grant(pool, 5, source="plan", key=f"{prefix}:pool-{pool.pk}").replayed


def test_the_key_of_a_batch_must_leave_room_for_the_owner(user: Any) -> None:
    everyone = type(user)._base_manager.filter(pk=user.pk)
    for rows, amount in ((everyone, 5), ([tokens.GrantRow(user, 5)], None)):
        with pytest.raises(tokens.InvalidKey), transaction.atomic():
            tokens.grant_many(rows, amount, source="plan", key="k" * 200)
