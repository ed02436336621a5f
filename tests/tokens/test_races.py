"""Many at once, on real connections: nothing is lost or doubled, nobody is refused wrongly, nothing locks up."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.utils import timezone as django_timezone

from django_token_pricing import tokens
from django_token_pricing.models import (
    LedgerEntry,
    PoolMember,
    TokenAccount,
    TokenAllocation,
    TokenHoldLot,
    TokenPool,
    TokenUsageLog,
)
from tests.tokens.conftest import PATHS
from tests.world import join, new_pool, new_user, new_users

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.concurrency]

POSTGRES = connection.vendor == "postgresql"
# One writer at a time is SQLite's nature, so more threads would only wait longer.
THREADS = 64 if POSTGRES else 8
ALIKE = 50 if POSTGRES else 8
NEWCOMERS = 16 if POSTGRES else 8


def give(owner: Any, amount: int = 100, **terms: Any) -> int:
    return tokens.grant(owner, amount, source="manual", **terms).allocation


def errors(answers: list[Any]) -> list[BaseException]:
    return [answer for answer in answers if isinstance(answer, BaseException)]


def unexpected(answers: list[Any], *expected: type[BaseException]) -> list[str]:
    return sorted({repr(error) for error in errors(answers) if not isinstance(error, expected)})


def check_books() -> None:
    assert list(tokens.reconcile()) == []


def consumed() -> int:
    return -sum(LedgerEntry.objects.filter(kind="consume").values_list("amount", flat=True))


# Admission


def test_exactly_as_many_are_admitted_as_there_are_tokens(in_parallel: Any, race_seeds: range) -> None:
    for seed in race_seeds:
        user = new_user()
        for part in (THREADS // 4, THREADS // 2):
            give(user, part)
        answers = in_parallel([partial(tokens.consume, user, 1, key=f"{seed}:{n}") for n in range(THREADS)])
        assert unexpected(answers, tokens.InsufficientTokens) == []
        assert len(errors(answers)) == THREADS - THREADS // 4 - THREADS // 2
        assert sorted(a.balance_after for a in answers if isinstance(a, tokens.Consumption)) == list(
            range(THREADS // 4 + THREADS // 2)
        )


def test_exactly_as_many_are_admitted_to_a_pool_as_its_tokens_and_caps_allow(
    in_parallel: Any, race_seeds: range
) -> None:
    each = THREADS // 4
    for seed in race_seeds:
        members = new_users(4)
        pool = new_pool(*members[1:])
        join(pool, members[0], cap=each // 2)
        give(pool, 3 * each)
        calls = [partial(tokens.consume, members[n % 4], 1, key=f"{seed}:{n}") for n in range(4 * each)]
        answers = in_parallel(calls)
        assert unexpected(answers, tokens.InsufficientTokens) == []
        assert len(errors(answers)) == each
        drawn = Counter(n % 4 for n, answer in enumerate(answers) if isinstance(answer, tokens.Consumption))
        assert drawn[0] <= each // 2
        assert tokens.balance(pool).available == 0


def test_exactly_as_many_hold_as_there_are_tokens_and_all_of_them_settle(in_parallel: Any, race_seeds: range) -> None:
    for seed in race_seeds:
        user = new_user()
        give(user, 10 * (THREADS // 2))

        def use(key: str, user: Any = user) -> int:
            with tokens.hold(user, 10, key=key) as hold:
                return hold.settle(10).amount

        answers = in_parallel([partial(use, f"{seed}:{n}") for n in range(THREADS)])
        assert unexpected(answers, tokens.InsufficientTokens) == []
        assert len(errors(answers)) == THREADS - THREADS // 2
        assert tokens.balance(user).total == 0


# No false denial


@pytest.mark.parametrize("of_pool", [False, True], ids=["own lots", "the pool's lots"])
def test_nobody_is_refused_while_lots_are_carried_over(
    in_parallel: Any, race_seeds: range, of_pool: bool, path: str
) -> None:
    """The old lot goes and the new one comes in one transaction that commits while consumers wait."""
    uses = 4 if path == "auto" else 2
    for seed in race_seeds:
        user = new_user()
        owner = new_pool(user) if of_pool else user
        lot = give(owner, THREADS * uses)
        done = threading.Event()

        def carry_over(lot: int = lot, done: threading.Event = done) -> int:
            turns = 0
            while not done.is_set():
                try:
                    old = TokenAllocation.objects.get(pk=lot)
                    lot = tokens.rollover(old, expires_at=django_timezone.now() + timedelta(days=9)).allocation
                    turns += 1
                except tokens.InsufficientTokens:
                    return turns
            return turns

        def consume(n: int, seed: int = seed, user: Any = user) -> None:
            for turn in range(uses):
                if turn % 3:
                    tokens.consume(user, 1, key=f"{seed}:{n}:{turn}")
                else:
                    tokens.hold(user, 1, key=f"{seed}:{n}:{turn}")
                    tokens.settle(f"{seed}:{n}:{turn}", 1)

        def watch(n: int, consume: Any = consume, done: threading.Event = done) -> None:
            try:
                consume(n)
            finally:
                if n == 0:
                    done.set()

        # A hold stays behind when its lot is carried over, so consumers of the rest see the new one.
        answers = in_parallel([carry_over, *(partial(watch, n) for n in range(1, THREADS)), partial(watch, 0)])
        assert unexpected(answers) == []
        # SQLite's one lock is not fair: who carries over may never get a turn there, and then nothing was shown.
        assert answers[0] > 0 or connection.vendor == "sqlite"
        assert tokens.balance(owner).total == 0
    check_books()


@contextmanager
def before_query(place: int, deed: Callable[[], Any]) -> Iterator[list[int]]:
    """Do this on another connection just before this connection's query of that number; counts the queries."""
    count = [0]

    def run() -> None:
        try:
            deed()
        finally:
            connection.close()

    def wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        count[0] += 1
        if count[0] == place:
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wrapper):
        yield count


def carry_over(user: Any) -> None:
    lot = TokenAllocation.objects.get(account__user=user, is_open=True)
    tokens.rollover(lot, expires_at=None)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "a rollover": carry_over,
    "a settlement": lambda user: tokens.settle(f"held:{user.pk}", 60),
    "a release": lambda user: tokens.release(f"held:{user.pk}"),
    "a use": lambda user: tokens.consume(user, 30, key=f"used:{user.pk}"),
    "a hold": lambda user: tokens.hold(user, 30, key=f"used:{user.pk}"),
    "a grant": lambda user: tokens.grant(user, 7, source="plan"),
    "a use of the pool": lambda user: tokens.consume(user, 80, key=f"used:{user.pk}"),
}


def whole(balance: tokens.Balance) -> tuple[int, int, int]:
    """What is of one moment; the pool's part of `spendable` is read just before."""
    return balance.available, balance.held, balance.total


@pytest.mark.parametrize("path", PATHS[:1], indirect=True)
def test_a_balance_is_that_before_or_after_what_happens_meanwhile() -> None:
    """Wherever between the queries of a balance another transaction commits, it is seen whole or not at all."""
    torn = []
    for name, change in CHANGES.items():
        place = queries = 1
        while place <= queries:
            user = new_user()
            pool = new_pool(user, cap=500)
            give(user, 100), give(pool, 1000)
            tokens.hold(user, 60, key=f"held:{user.pk}")
            before = tokens.balances([user, pool])
            with before_query(place, partial(change, user)) as count:
                found = tokens.balances([user, pool])
            after = tokens.balances([user, pool])
            torn += [
                (name, place, found[it])
                for it in (user, pool)
                if whole(found[it]) not in (whole(before[it]), whole(after[it]))
            ]
            place, queries = place + 1, count[0]
    assert torn == []


# One key


def alike(in_parallel: Any, call: Callable[[], Any]) -> Any:
    """Call it many times at once: one did it, and all say the same."""
    answers = in_parallel([call] * ALIKE)
    assert unexpected(answers) == []
    answers = [getattr(answer, "result", answer) for answer in answers]
    assert [answer.replayed for answer in answers].count(False) == 1
    assert all(answer == answers[0] for answer in answers)
    return answers[0]


def test_many_calls_with_one_key_count_once(in_parallel: Any) -> None:
    user = new_user()
    pool = new_pool(user)
    correction: dict[str, Any] = {"reason": "r", "actor": None}
    give(user, 100), give(pool, 1000)
    alike(in_parallel, lambda: tokens.consume(user, 130, key="consume"))
    assert (tokens.balance(user).available, tokens.balance(pool).available) == (0, 970)
    alike(in_parallel, lambda: tokens.refund("consume", reason="r"))
    assert (tokens.balance(user).available, tokens.balance(pool).available) == (100, 1000)
    alike(in_parallel, lambda: tokens.hold(user, 110, key="hold"))
    assert (tokens.balance(user).held, tokens.balance(pool).held) == (100, 10)
    alike(in_parallel, lambda: tokens.settle("hold", 120))
    assert (tokens.balance(user).total, tokens.balance(pool).total) == (0, 980)
    alike(in_parallel, lambda: tokens.refund("hold", 25, key="refund", reason="r"))
    assert (tokens.balance(user).total, tokens.balance(pool).total) == (5, 1000)
    alike(in_parallel, lambda: tokens.grant(user, 100, source="plan", key="grant"))
    assert tokens.balance(user).total == 105
    tokens.hold(user, 50, key="release")
    alike(in_parallel, lambda: tokens.release("release"))
    assert tokens.balance(user).available == 105
    alike(in_parallel, lambda: tokens.subtract(user, 5, key="subtract", **correction))
    alike(in_parallel, lambda: tokens.set_balance(user, 70, key="set", **correction))
    alike(in_parallel, lambda: tokens.set_balance(user, 90, key="set again", **correction))
    assert tokens.balance(user).available == 90
    lot = TokenAllocation.objects.get(pk=give(user, 40))
    alike(in_parallel, lambda: tokens.rollover(lot, 15, expires_at=None, key="rollover"))
    assert tokens.balance(user).available == 130
    row = tokens.GrantRow(user, 10, key="row")
    answers = in_parallel([lambda: tokens.grant_many([row], source="plan")] * ALIKE)
    assert unexpected(answers) == []
    assert sorted(answer.granted for answer in answers) == [0] * (ALIKE - 1) + [1]
    assert tokens.balance(user).available == 140
    check_books()


def test_many_first_calls_for_a_new_owner_make_one_account(in_parallel: Any, race_seeds: range) -> None:
    for seed in race_seeds:
        user = new_user()
        give(new_pool(user), 1000)
        alike(in_parallel, lambda user=user, seed=seed: tokens.consume(user, 3, key=f"c{seed}"))  # type: ignore[misc]
        user = new_user()
        answers = in_parallel(
            [
                partial(tokens.grant, user, 5, source="plan", key=f"g{seed}:{n}")
                if n % 2
                else partial(tokens.consume, user, 0, key=f"u{seed}:{n}")
                for n in range(NEWCOMERS)
            ]
        )
        assert unexpected(answers) == []
        assert tokens.balance(user).available == 5 * (NEWCOMERS // 2)
        pool = new_pool()
        answers = in_parallel([partial(tokens.grant, pool, 5, source="plan") for _ in range(NEWCOMERS)])
        assert unexpected(answers) == []
        assert tokens.balance(pool).available == 5 * NEWCOMERS


@pytest.mark.parametrize("verb", ["consume", "hold", "grant"])
def test_of_two_owners_with_one_key_exactly_one_is_refused(in_parallel: Any, verb: str) -> None:
    pairs = [new_users(2) for _ in range(12)]
    for user in (user for pair in pairs for user in pair):
        give(user, 10)
    deeds: dict[str, Callable[..., Any]] = {
        "consume": tokens.consume,
        "hold": tokens.hold,
        "grant": partial(tokens.grant, source="plan"),
    }
    for turn, pair in enumerate(pairs):
        answers = in_parallel([partial(deeds[verb], user, 4, key=str(turn)) for user in pair])
        assert unexpected(answers, tokens.IdempotencyConflict) == []
        assert len(errors(answers)) == 1
        expected = {"consume": [6, 10], "hold": [6, 10], "grant": [10, 14]}[verb]
        assert sorted(tokens.balance(user).available for user in pair) == expected
    check_books()


def test_settling_and_releasing_at_once_does_one_of_the_two(in_parallel: Any) -> None:
    user = new_user()
    give(user, 1000)
    for turn in range(15):
        tokens.hold(user, 10, key=str(turn))
        key = str(turn)
        answers = in_parallel(
            [partial(tokens.settle, key, 10), partial(tokens.settle, key, 7), partial(tokens.release, key)]
        )
        assert unexpected(answers, tokens.IdempotencyConflict, tokens.HoldExpired) == []
        assert len(errors(answers)) == 2
    assert tokens.balance(user).held == 0
    check_books()


# Many accounts in one call


def test_calls_with_owners_in_common_never_lock_each_other_out(in_parallel: Any, race_seeds: range) -> None:
    users = new_users(6)
    pool = new_pool(*users[:3])
    for owner in (*users, pool):
        give(owner, 100_000)
    for seed in race_seeds:

        def use(n: int, seed: int = seed) -> None:
            chance = random.Random(f"{seed}:{n}")
            for turn in range(4):
                owners = [*users, pool]
                chance.shuffle(owners)
                uses = [tokens.Use(owner, 1, key=f"{seed}:{n}:{turn}:{k}") for k, owner in enumerate(owners[:5])]
                tokens.consume_many(uses)

        assert unexpected(in_parallel([partial(use, n) for n in range(min(THREADS, 24))])) == []
    check_books()


def test_calls_that_meet_two_pools_in_either_order_never_lock_each_other_out(in_parallel: Any) -> None:
    """A pool as owner in one call is what a member of it draws on in the other."""
    one, two = new_users(2)
    first, second = new_pool(one), new_pool(two)
    give(first, 10_000), give(second, 10_000)
    tokens.consume(one, 1, key="a"), tokens.consume(two, 1, key="b")
    uses = {0: (one, second), 1: (two, first), 2: (one, two), 3: (first, second)}

    def use(n: int) -> None:
        for turn in range(25):
            owners = uses[n % 4]
            tokens.consume_many([tokens.Use(owner, 2, key=f"{n}:{turn}:{k}") for k, owner in enumerate(owners)])

    assert unexpected(in_parallel([partial(use, n) for n in range(8)])) == []
    check_books()


def test_batches_uses_and_sweeps_of_the_same_owners_never_lock_each_other_out(in_parallel: Any) -> None:
    users = new_users(40)
    pools = [new_pool(*users[:10]), new_pool(*users[10:20])]
    tokens.grant_many([tokens.GrantRow(owner, 10_000) for owner in (*users, *pools)], source="plan")

    def grants(n: int) -> None:
        chance = random.Random(n)
        for _ in range(5):
            rows = [tokens.GrantRow(owner, 1) for owner in chance.sample([*users, *pools], 30)]
            soon = django_timezone.now() + timedelta(seconds=1)
            with suppress(tokens.InvalidMoment):  # waited for longer than that
                tokens.grant_many(rows, source="plan", expires_at=soon)

    def grants_to_all(n: int) -> None:
        everyone = get_user_model()._base_manager.filter(pk__in=[user.pk for user in users])
        for turn in range(5):
            tokens.grant_many(everyone, 1, source="plan", key=f"all:{n}:{turn}")

    def uses(n: int) -> None:
        chance = random.Random(n)
        for turn in range(8):
            owners = chance.sample([*users, *pools], 12)
            tokens.consume_many([tokens.Use(owner, 1, key=f"{n}:{turn}:{k}") for k, owner in enumerate(owners)])

    def records(n: int) -> None:
        for turn in range(5):
            tokens.record_many([tokens.Use(user, 1, key=f"r:{n}:{turn}:{k}") for k, user in enumerate(users)])

    def sweeps(n: int) -> None:
        for _ in range(10):
            tokens.expire(as_of=django_timezone.now())
            time.sleep(0.03)

    deeds = [grants, grants_to_all, uses, uses, records, sweeps]
    answers = in_parallel([partial(deeds[n % 6], n) for n in range(24 if POSTGRES else 6)])
    assert unexpected(answers) == []
    check_books()


def in_any_order(rows: list[Any], seed: int) -> list[list[Any]]:
    half = len(rows) // 2
    return [rows, rows[::-1], rows[half:] + rows[:half], random.Random(seed).sample(rows, len(rows))]


def test_the_same_uses_recorded_in_any_order_at_once_are_stored_once(in_parallel: Any) -> None:
    users = new_users(5)
    number = 4_000 if POSTGRES else 200
    for turn in range(3):
        uses = [tokens.Use(users[n % 5], n, key=f"{turn}:{n}") for n in range(number)]
        answers = in_parallel([partial(tokens.record_many, order) for order in in_any_order(uses, turn)])
        assert unexpected(answers) == []
        assert sum(answer.recorded for answer in answers) == number
        assert sum(answer.replayed for answer in answers) == 3 * number
    assert TokenUsageLog.objects.count() == 3 * number


def test_the_same_rows_granted_in_any_order_at_once_are_granted_once(in_parallel: Any) -> None:
    """To users without accounts, too, which are then made."""
    number = 2_000 if POSTGRES else 50
    for turn in range(3):
        users = new_users(number)
        rows = [tokens.GrantRow(user, 3, key=f"{turn}:{n}") for n, user in enumerate(users)]
        calls = [partial(tokens.grant_many, order, source="plan") for order in in_any_order(rows, turn)]
        answers = in_parallel(calls)
        assert unexpected(answers) == []
        assert sorted(answer.granted for answer in answers) == [0, 0, 0, number]
        assert {balance.available for balance in tokens.balances(users).values()} == {3}


def test_first_deeds_of_the_same_new_users_never_lock_each_other_out(in_parallel: Any) -> None:
    """Their accounts are made by whoever comes first, in one order whatever the order of the call."""
    for turn in range(4):
        users = new_users(60)

        def begin(n: int, turn: int = turn, users: list[Any] = users) -> None:
            owners = random.Random(f"{turn}:{n}").sample(users, 40)
            match n % 3:
                case 0:
                    tokens.grant_many([tokens.GrantRow(owner, 1) for owner in owners], source="plan")
                case 1:
                    tokens.consume_many([tokens.Use(owner, 0) for owner in owners])
                case 2:
                    tokens.record_many([tokens.Use(owner, 5) for owner in owners])

        assert unexpected(in_parallel([partial(begin, n) for n in range(9)])) == []


def test_a_user_deleted_in_the_midst_of_traffic_is_unknown_from_then_on(in_parallel: Any) -> None:
    for turn in range(5):
        user = new_user()
        pool = new_pool(user)
        give(user, 1_000), give(pool, 1_000)
        account = TokenAccount.objects.get(user=user)
        stale = type(user)._base_manager.get(pk=user.pk)

        def use(n: int, turn: int = turn, user: Any = stale) -> None:
            for place in range(20):
                tokens.consume(user, 30, key=f"{turn}:{n}:{place}")
                tokens.hold(user, 1, key=f"{turn}:{n}:{place}:h")
                tokens.settle(f"{turn}:{n}:{place}:h", 1)

        def delete(user: Any = user) -> None:
            time.sleep(0.05)
            user.delete()

        answers = in_parallel([*(partial(use, n) for n in range(4)), delete])
        assert unexpected(answers, tokens.UnknownOwner, tokens.InsufficientTokens) == []
        account.refresh_from_db()
        assert account.is_closed
    check_books()


# All together


class Storm:
    """A thread's share of mixed deeds; it keeps every keyed call with its first answer, to ask them all again."""

    def __init__(self, seed: str, owners: list[Any]) -> None:
        self.chance = random.Random(seed)
        self.seed = seed
        self.owners = owners
        self.said: list[tuple[Callable[[], Any], Any]] = []
        self.refused = 0
        self.consumed = 0
        self.used: list[str] = []

    def run(self, turns: int) -> Storm:
        deeds = [
            *[self.consume] * 6,
            *[self.hold] * 4,
            *[self.grant] * 3,
            *[self.rollover] * 2,
            *[self.refund] * 2,
            self.subtract,
            self.set_balance,
            self.expire,
            self.many,
        ]
        for turn in range(turns):
            self.turn = turn
            try:
                self.chance.choice(deeds)(self.chance.choice(self.owners))
            except (tokens.InsufficientTokens, tokens.InvalidMoment):
                # Too little is there, or a grant waited for its turn until its own end had passed.
                self.refused += 1
        return self

    def key(self, name: str) -> str:
        return f"{name}:{self.seed}:{self.turn}"

    def amount(self) -> int:
        return self.chance.choice([1, 2, 3, 7, 40])

    def say(self, call: Callable[[], Any]) -> Any:
        answer = call()
        answer = getattr(answer, "result", answer)
        assert not answer.replayed
        self.said.append((call, answer))
        return answer

    def consume(self, owner: Any) -> None:
        key = self.key("consume")
        self.consumed += self.say(partial(tokens.consume, owner, self.amount(), key=key, model="m")).amount
        self.used.append(key)

    def many(self, owner: Any) -> None:
        owners = self.chance.sample(self.owners, min(4, len(self.owners)))
        key = self.key("many")
        answers = tokens.consume_many(
            [tokens.Use(owner, self.amount(), key=f"{key}:{place}") for place, owner in enumerate(owners)]
        )
        self.consumed += sum(answer.amount for answer in answers)

    def hold(self, owner: Any) -> None:
        key, held = self.key("hold"), self.amount()
        ttl = self.chance.choice([0.01, 60, 60, 60])
        answer = self.say(partial(tokens.hold, owner, held, key=key, ttl=ttl))
        match self.chance.randint(0, 4):
            case 0:
                self.say(partial(tokens.release, key))
            case 1 | 2 | 3:
                actual = self.chance.choice([0, held // 2, held, held + 3])
                try:
                    self.consumed += self.say(partial(tokens.settle, key, actual)).amount
                except tokens.InsufficientTokens:
                    # Within its time, settling for no more than was held never fails.
                    if actual <= held:
                        assert datetime.now(timezone.utc) >= answer.expires_at
                    raise
                self.used.append(key)

    def grant(self, owner: Any) -> None:
        lasts = self.chance.choice([None, timedelta(milliseconds=40), timedelta(days=9)])
        self.say(
            partial(
                tokens.grant,
                owner,
                3 * self.amount(),
                source="plan",
                key=self.key("grant"),
                priority=self.chance.randint(1, 3),
                expires_at=lasts and django_timezone.now() + timedelta(seconds=1) + lasts,
            )
        )

    def rollover(self, owner: Any) -> None:
        owned = {"account__user": owner} if not isinstance(owner, TokenPool) else {"account__pool": owner}
        lot = TokenAllocation.objects.filter(is_open=True, **owned).order_by("?").first()
        if lot:
            self.say(partial(tokens.rollover, lot, expires_at=None, priority=2, key=self.key("rollover")))

    def refund(self, owner: Any) -> None:
        if not self.used:
            return
        try:
            self.say(partial(tokens.refund, self.chance.choice(self.used), 1, key=self.key("refund"), reason="r"))
        except tokens.InvalidAmount:
            self.refused += 1

    def subtract(self, owner: Any) -> None:
        self.say(partial(tokens.subtract, owner, self.amount(), reason="r", actor=None, key=self.key("subtract")))

    def set_balance(self, owner: Any) -> None:
        self.say(partial(tokens.set_balance, owner, 500, reason="r", actor=None, key=self.key("set")))

    def expire(self, owner: Any) -> None:
        tokens.expire(as_of=django_timezone.now())


def weather(in_parallel: Any, seed: int, owners: list[Any], turns: int) -> None:
    storms = [Storm(f"{seed}:{n}", owners) for n in range(THREADS)]
    before = consumed()
    answers = in_parallel([partial(storm.run, turns) for storm in storms])
    assert unexpected(answers) == []
    assert consumed() - before == sum(storm.consumed for storm in storms)
    check_books()
    # Every call is answered as the first time, whatever has happened since.
    said = [pair for storm in storms for pair in storm.said]
    for call, first in random.Random(seed).sample(said, min(len(said), 150)):
        again = call()
        again = getattr(again, "result", again)
        assert (again.replayed, again) == (True, first)
    moments = Counter(TokenUsageLog.objects.filter(is_charged=True).values_list("account", "booked_at"))
    assert moments.most_common(1)[0][1] == 1


def test_one_hot_account_under_all_verbs_at_once(in_parallel: Any, race_seeds: range) -> None:
    for seed in race_seeds:
        user, other = new_users(2)
        pool = new_pool(user, other, cap=3_000)
        give(user, 500), give(pool, 4_000)
        weather(in_parallel, seed, [user, user, user, other, pool], turns=5)


def test_a_thousand_accounts_under_all_verbs_at_once(in_parallel: Any, race_seeds: range) -> None:
    users = new_users(1_000 if POSTGRES else 100)
    pools = TokenPool.objects.bulk_create(TokenPool(name=f"team {n}") for n in range(10))
    PoolMember.objects.bulk_create(
        PoolMember(pool=pools[n % 10], user=user, monthly_cap=(n % 3 and 500) or None)
        for n, user in enumerate(users)
        if n % 2
    )
    tokens.grant_many([tokens.GrantRow(owner, 60) for owner in (*users, *pools)], source="plan")
    assert TokenAccount.objects.count() == len(users) + 10
    for seed in race_seeds:
        weather(in_parallel, 1_000 + seed, [*users, *pools], turns=5)


# The past while the present goes on


def replay(owner: Any, moment: datetime) -> tuple[int, int]:
    """Available and held at that moment, from the rows alone and in plain Python."""
    account = (
        TokenAccount.objects.get(pool=owner) if isinstance(owner, TokenPool) else TokenAccount.objects.get(user=owner)
    )
    left: dict[int, int] = Counter()
    for lot, amount, booked in account.entries.values_list("allocation", "amount", "booked_at"):
        if booked <= moment:
            left[lot] += amount
    held: dict[int, int] = Counter()
    lines = TokenHoldLot.objects.filter(account=account).values_list(
        "allocation", "amount", "hold__booked_at", "expires_at", "closed_at"
    )
    for lot, amount, since, until, closed in lines:
        if since <= moment < until and (closed is None or closed > moment):
            held[lot] += amount
    live = [
        pk
        for pk, starts, ends in account.allocations.values_list("pk", "starts_at", "expires_at")
        if starts <= moment and (ends is None or ends > moment)
    ]
    return sum(left[lot] - held[lot] for lot in live), sum(held.values())


def settled_moment() -> datetime:
    """A moment before all transactions that are still open."""
    if not POSTGRES:
        return django_timezone.now() - timedelta(seconds=2)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT min(xact_start) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL"
        )
        oldest: datetime = cursor.fetchone()[0]
    return oldest - timedelta(microseconds=1)


def test_the_past_stays_as_it_was_while_writers_run(in_parallel: Any) -> None:
    user, other = new_users(2)
    pool = new_pool(user, other)
    owners = [user, other, pool]
    start = django_timezone.now()
    for owner in owners:
        give(owner, 5_000)
    writers = 16 if POSTGRES else 4
    storms = [Storm(f"past:{n}", owners) for n in range(writers)]
    running = threading.Semaphore(0)

    def write(storm: Storm) -> None:
        try:
            storm.run(30 if POSTGRES else 12)
        finally:
            running.release()

    def look(n: int) -> list[tuple[Any, datetime, tuple[int, int]]]:
        chance = random.Random(n)
        seen = []
        while running._value < writers:
            latest = settled_moment()
            moment = start + chance.random() * (latest - start) if chance.random() < 0.5 else latest
            owner = chance.choice(owners)
            balance = tokens.balance(owner, as_of=moment)
            seen.append((owner, moment, (balance.available, balance.held)))
        return seen

    answers = in_parallel([*(partial(write, storm) for storm in storms), *(partial(look, n) for n in range(2))])
    assert unexpected(answers) == []
    seen = answers[-1] + answers[-2]
    assert seen
    tokens.expire(as_of=django_timezone.now())
    for owner, moment, found in random.Random(1).sample(seen, min(len(seen), 120)):
        balance = tokens.balance(owner, as_of=moment)
        assert (balance.available, balance.held) == found == replay(owner, moment)
