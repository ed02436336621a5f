"""The ledger in its host's transactions: what is rolled back, what stays usable, what is told, and what it asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import DatabaseError, connection, models, transaction
from django.dispatch import Signal
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_token_pricing import signals, tokens
from django_token_pricing.exceptions import AppendOnly
from django_token_pricing.models import (
    AuditEvent,
    IdempotencyKey,
    LedgerEntry,
    TokenAccount,
    TokenAllocation,
    TokenHold,
    TokenUsageLog,
)
from tests.world import new_pool, new_user, new_users

pytestmark = pytest.mark.django_db
# Flushing a database takes long, so what needs real transactions is asked in few tests.
real = pytest.mark.django_db(transaction=True)

REASON: dict[str, Any] = {"reason": "r", "actor": None}


def give(owner: Any, amount: int = 100, **terms: Any) -> int:
    return tokens.grant(owner, amount, source="manual", **terms).allocation


def rows() -> dict[str, int]:
    kept = (LedgerEntry, TokenUsageLog, TokenHold, TokenAllocation, IdempotencyKey, AuditEvent)
    return {model.__name__: model._base_manager.count() for model in kept}


def books() -> tuple[Any, ...]:
    lots = TokenAllocation.objects.order_by("pk").values_list("pk", "remaining")
    holds = TokenHold.objects.order_by("pk").values_list("key", "status")
    return rows(), list(lots), list(holds), list(TokenAccount.objects.order_by("pk").values_list("balance"))


VERBS: dict[str, Callable[[Any], Any]] = {
    "grant": lambda user: tokens.grant(user, 5, source="manual", key="new"),
    "grant_many": lambda user: tokens.grant_many([tokens.GrantRow(user, 5, key="new")], source="manual"),
    "consume": lambda user: tokens.consume(user, 105, key="new"),
    "consume_many": lambda user: tokens.consume_many([tokens.Use(user, 105, key="new")]),
    "hold": lambda user: tokens.hold(user, 105, key="new"),
    "settle": lambda user: tokens.settle("held", 7),
    "release": lambda user: tokens.release("held"),
    "subtract": lambda user: tokens.subtract(user, 5, key="new", **REASON),
    "set_balance": lambda user: tokens.set_balance(user, 5, key="new", **REASON),
    "refund": lambda user: tokens.refund("used", 5, key="new", reason="r"),
    "rollover": lambda user: tokens.rollover(TokenAllocation.objects.order_by("-pk")[0], 5, expires_at=None, key="new"),
}


@pytest.fixture
def owner() -> Any:
    """A user with own tokens, a pool, a use and a hold that both draw on it."""
    user = new_user()
    pool = new_pool(user, cap=500)
    give(user, 20), give(pool, 1000)
    tokens.consume(user, 30, key="used")
    tokens.hold(user, 10, key="held")
    give(user, 100)
    return user


class HostError(Exception):
    pass


@pytest.mark.parametrize("verb", VERBS)
def test_a_host_that_rolls_back_has_done_nothing(owner: Any, verb: str) -> None:
    before = books()
    with pytest.raises(HostError), transaction.atomic():
        VERBS[verb](owner)
        assert books() != before
        raise HostError
    assert books() == before
    VERBS[verb](owner)
    assert books() != before


@pytest.mark.parametrize("verb", VERBS)
def test_a_host_that_rolls_back_to_a_savepoint_has_done_the_rest(owner: Any, verb: str) -> None:
    with transaction.atomic():
        tokens.consume(owner, 1, key="stays")
        before = books()
        with pytest.raises(HostError), transaction.atomic():
            VERBS[verb](owner)
            raise HostError
        assert books() == before
        VERBS[verb](owner)
    assert tokens.consume(owner, 1, key="stays").replayed


REFUSALS: dict[str, Callable[[Any], Any]] = {
    "insufficient": lambda user: tokens.consume(user, 5_000, key="x"),
    "insufficient for a hold": lambda user: tokens.hold(user, 5_000, key="x"),
    "insufficient for a settlement": lambda user: tokens.settle("held", 5_000),
    "insufficient for a subtraction": lambda user: tokens.subtract(user, 5_000, **REASON),
    "beyond the cap": lambda user: tokens.consume(user, 600, key="x"),
    "another amount": lambda user: tokens.consume(user, 31, key="used"),
    "another verb": lambda user: tokens.hold(user, 30, key="used"),
    "another owner": lambda user: tokens.consume(new_user(), 30, key="used"),
    "another verb for a grant": lambda user: tokens.grant(user, 30, source="manual", key="used"),
    "another verb for a batch": lambda user: tokens.grant_many([tokens.GrantRow(user, 5, key="used")], source="plan"),
    "unknown key": lambda user: tokens.settle("never", 5),
    "unknown owner": lambda user: (
        tokens.consume(get_user_model()(pk=new_users(1)[0].pk.__class__(int=5)), 5, key="x")
        if hasattr(user.pk, "int")
        else tokens.consume(get_user_model()(pk=10**9), 5, key="x")
    ),
    "no amount": lambda user: tokens.consume(user, -1, key="x"),
    "too much refunded": lambda user: tokens.refund("used", 500, key="x", reason="r"),
    "in the middle of many": lambda user: tokens.consume_many(
        [tokens.Use(user, 1, key="a"), tokens.Use(user, 5_000, key="b"), tokens.Use(user, 1, key="c")]
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_after_a_refusal_the_hosts_transaction_is_still_usable(owner: Any, refusal: str) -> None:
    before = books()
    with transaction.atomic():
        with pytest.raises((tokens.InsufficientTokens, ValueError, LookupError, Exception)) as error:
            REFUSALS[refusal](owner)
        assert hasattr(error.value, "code"), error.value
        assert books()[:3] == before[:3]
        tokens.consume(owner, 1, key="after")
    assert TokenUsageLog.objects.filter(key="after").exists()


# Isolation


@contextmanager
def isolated(level: str) -> Iterator[None]:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        yield


LEVELS = ["REPEATABLE READ", "SERIALIZABLE"]


@real
@pytest.mark.postgres
def test_isolation_levels_other_than_read_committed_are_refused(owner: Any) -> None:
    before = books()
    for level in LEVELS:
        for verb in VERBS.values():
            with isolated(level):
                with pytest.raises(tokens.UnsupportedIsolation) as error:
                    verb(owner)
                assert (error.value.code, error.value.isolation) == ("unsupported_isolation", level.lower())
                assert TokenAccount.objects.count() == 2
    assert books() == before


@real
@pytest.mark.postgres
def test_isolation_is_refused_also_where_the_account_has_moved_meanwhile(owner: Any, in_parallel: Any) -> None:
    """There locking the account fails already, with an error of the database that says nothing of the cause."""
    failed = []
    for place, (name, verb) in enumerate(VERBS.items()):
        with isolated(LEVELS[place % 2]):
            tokens.balance(owner)
            in_parallel([lambda place=place: tokens.consume(owner, 1, key=f"meanwhile {place}")])
            try:
                verb(owner)
            except tokens.UnsupportedIsolation:
                continue
            except DatabaseError as error:
                failed.append((name, str(error)))
                transaction.set_rollback(True)
    assert failed == []


@real
@pytest.mark.postgres
def test_the_sweep_refuses_other_isolation_levels(owner: Any) -> None:
    lot = tokens.hold(owner, 1, key="short", ttl=0.001)
    time.sleep(0.01)  # until there is something to sweep
    with isolated("REPEATABLE READ"), pytest.raises(tokens.UnsupportedIsolation):
        tokens.expire(as_of=timezone.now())
    assert TokenHold.objects.get(pk=lot.hold).status == "open"


@real
@pytest.mark.skipif(connection.vendor == "sqlite", reason="has no levels")
def test_the_level_of_the_connection_counts_too(owner: Any) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    else:
        connection.close()
        connection.settings_dict["OPTIONS"]["isolation_level"] = "repeatable read"
    accepted = []
    try:
        for name, verb in VERBS.items():
            try:
                verb(owner)
            except tokens.UnsupportedIsolation:
                continue
            accepted.append(name)
    finally:
        connection.settings_dict["OPTIONS"].pop("isolation_level", None)
        connection.close()
    assert accepted == []


# Round trips


@real
@pytest.mark.postgres
@pytest.mark.parametrize("path", ["auto"], indirect=True)
def test_a_metering_verb_is_one_round_trip_in_autocommit(owner: Any) -> None:
    tokens.consume(owner, 1, key="first")  # looks once whether the function is there
    newcomer = new_user()
    for call in (
        lambda: tokens.consume(owner, 1, key="k"),
        lambda: tokens.consume(owner, 1, key="k"),
        lambda: tokens.consume(owner, 110, key="of the pool"),
        lambda: tokens.consume(newcomer, 0, key="of a new account"),
        lambda: tokens.hold(owner, 1, key="h"),
        lambda: tokens.settle("h", 2),
        lambda: tokens.settle("h", 2),
        lambda: tokens.hold(owner, 1, key="r"),
        lambda: tokens.release("r"),
        lambda: tokens.settle("held", 1),
    ):
        with CaptureQueriesContext(connection) as queries:
            call()
        assert len(queries) == 1, queries.captured_queries
        assert not connection.in_atomic_block


# Signals


@pytest.fixture
def told() -> Iterator[list[tuple[str, Any]]]:
    """What the signals said."""
    heard: list[tuple[str, Any]] = []
    named = {name: signal for name, signal in vars(signals).items() if isinstance(signal, Signal)}

    def listener(name: str) -> Callable[..., None]:
        def listen(*, sender: Any, result: Any, **kwargs: Any) -> None:
            assert issubclass(sender, models.Model)
            heard.append((name, result))

        return listen

    listeners = {name: listener(name) for name in named if name.startswith("tokens_")}
    for name, listen in listeners.items():
        named[name].connect(listen)
    yield heard
    for name, listen in listeners.items():
        named[name].disconnect(listen)


SAID = {
    "grant": "tokens_granted",
    "grant_many": "tokens_granted",
    "consume": "tokens_consumed",
    "hold": "tokens_held",
    "settle": "tokens_consumed",
    "release": "tokens_released",
    "subtract": "tokens_subtracted",
    "set_balance": "tokens_subtracted",
    "refund": "tokens_refunded",
}


@pytest.mark.parametrize("verb", SAID)
def test_a_signal_carries_the_answer_after_the_commit(
    owner: Any, told: list[tuple[str, Any]], verb: str, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        answer = VERBS[verb](owner)
        assert told == []
    assert told == [(SAID[verb], getattr(answer, "result", answer))]
    assert told[0][1].__dataclass_params__.frozen


@pytest.mark.parametrize("verb", SAID)
def test_replays_and_what_is_rolled_back_tell_nobody(
    owner: Any, told: list[tuple[str, Any]], verb: str, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        with pytest.raises(HostError), transaction.atomic():
            VERBS[verb](owner)
            raise HostError
        assert told == []
        VERBS[verb](owner)
    told.clear()
    with django_capture_on_commit_callbacks(execute=True):
        VERBS[verb](owner)
    assert told == []


@real
def test_signals_of_real_transactions_come_when_these_are_over(owner: Any, told: list[tuple[str, Any]]) -> None:
    for name in SAID:
        if name in ("consume", "grant_many", "hold", "subtract", "set_balance", "refund", "release"):
            continue
        VERBS[name](owner)
    assert [name for name, _ in told] == ["tokens_granted", "tokens_consumed"]
    told.clear()
    with transaction.atomic():
        tokens.consume(owner, 1, key="a")
        with pytest.raises(HostError), transaction.atomic():
            tokens.consume(owner, 1, key="b")
            raise HostError
        tokens.consume(owner, 2, key="c")
        assert told == []
    assert [result.amount for _, result in told] == [1, 2]


def test_a_refusal_is_told_to_nobody(
    owner: Any, told: list[tuple[str, Any]], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        with pytest.raises(tokens.InsufficientTokens):
            tokens.consume(owner, 5_000, key="x")
        with pytest.raises(tokens.InsufficientTokens):
            tokens.consume_many([tokens.Use(owner, 1, key="a"), tokens.Use(owner, 5_000, key="b")])
    assert told == []


def test_many_uses_are_told_one_by_one(
    owner: Any, told: list[tuple[str, Any]], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        answers = tokens.consume_many([tokens.Use(owner, 1, key="a"), tokens.Use(owner, 2, key="b")])
    assert told == [("tokens_consumed", answer) for answer in answers]


def test_a_listener_that_fails_harms_nothing(owner: Any, django_capture_on_commit_callbacks: Any) -> None:
    def fail(**kwargs: Any) -> None:
        raise HostError

    signals.tokens_consumed.connect(fail)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            assert tokens.consume(owner, 1, key="k").amount == 1
    finally:
        signals.tokens_consumed.disconnect(fail)


# Many at once


def test_many_uses_are_answered_in_their_order() -> None:
    users = new_users(4)
    pool = new_pool(*users[:2])
    for owner in (*users, pool):
        give(owner, 10)
    uses = [
        tokens.Use(users[3], 1, key="a", model="m"),
        tokens.Use(pool, 2, key="b"),
        tokens.Use(users[0], 13, key="c"),
        tokens.Use(users[3], 4, key="d"),
        tokens.Use(users[1], 0, key="e"),
    ]
    answers = tokens.consume_many(uses)
    assert [answer.amount for answer in answers] == [1, 2, 13, 4, 0]
    assert [balance.available for balance in tokens.balances([*users, pool]).values()] == [0, 10, 10, 5, 5]
    again = tokens.consume_many(uses)
    assert again == answers
    assert all(answer.replayed for answer in again)


def test_one_refused_use_refuses_all() -> None:
    users = new_users(3)
    for user in users:
        give(user, 10)
    before = books()
    with pytest.raises(tokens.InsufficientTokens):
        tokens.consume_many([tokens.Use(user, 4 + 4 * place, key=str(place)) for place, user in enumerate(users)])
    assert books() == before


def test_one_key_twice_among_many_counts_once_or_conflicts() -> None:
    one, two = new_users(2)
    give(one, 10), give(two, 10)
    answers = tokens.consume_many([tokens.Use(one, 4, key="k"), tokens.Use(one, 4, key="k")])
    assert [answer.replayed for answer in answers] == [False, True]
    with pytest.raises(tokens.IdempotencyConflict):
        tokens.consume_many([tokens.Use(one, 4, key="l"), tokens.Use(two, 4, key="l")])
    assert tokens.balance(two).available == 10


def test_no_uses_are_answered_with_none() -> None:
    assert tokens.consume_many([]) == []


# Final rows


@pytest.mark.parametrize("model", [LedgerEntry, TokenUsageLog])
def test_final_rows_are_neither_changed_nor_deleted_through_models(owner: Any, model: Any) -> None:
    row = model.objects.first()
    for call in (
        row.save,
        row.delete,
        lambda: model.objects.all().delete(),
        lambda: model.objects.update(id=1),
        lambda: model.objects.bulk_update([row], [model._meta.fields[1].name]),
    ):
        with pytest.raises(AppendOnly), transaction.atomic():
            call()


@pytest.mark.postgres
@pytest.mark.parametrize("table", ["ledgerentry", "tokenusagelog"])
@pytest.mark.parametrize("deed", ["UPDATE {} SET amount = amount", "DELETE FROM {}"])
def test_triggers_refuse_to_change_or_delete_final_rows(owner: Any, table: str, deed: str) -> None:
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(deed.format(f"django_token_pricing_{table}"))


@pytest.mark.postgres
@pytest.mark.parametrize(
    "change",
    [
        "amount = amount + 1",
        "expires_at = now()",
        "priority = 1",
        "starts_at = now()",
        "source = 'plan'",
        "parent_id = id",
    ],
)
def test_triggers_refuse_to_change_what_a_lot_was_granted_with(owner: Any, change: str) -> None:
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE django_token_pricing_tokenallocation SET {change}")


@real
@pytest.mark.postgres
def test_truncating_is_left_to_hosts_tests(owner: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE django_token_pricing_ledgerentry, django_token_pricing_tokenusagelog CASCADE")
        cursor.execute("TRUNCATE django_token_pricing_tokenaccount CASCADE")
