"""The package against the model: whatever is done in whatever order, both say the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import hypothesis
import pytest
from django.db import transaction
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from django_token_pricing import tokens
from django_token_pricing.models import TokenAllocation
from tests.tokens import ledger
from tests.tokens.clock import Clock, noon
from tests.tokens.model import Answer, Model, Refused
from tests.world import join, leave, new_pool, new_users

pytestmark = [pytest.mark.django_db(transaction=True)]

STEPS = 50
# Explaining a failure runs it over and over; the shrunken steps say enough.
PHASES = [phase for phase in hypothesis.Phase if phase is not hypothesis.Phase.explain]
USERS, POOLS = ["ann", "ben", "cat"], ["team", "club"]
OWNERS = [*USERS, *POOLS]
# Small and of few values, so that they meet each other's edges.
AMOUNTS = st.sampled_from([1, 2, 5, 9, 10, 11, 20, 37, 60])
SPANS = st.sampled_from([timedelta(seconds=5), timedelta(minutes=10), timedelta(hours=30), timedelta(days=12)])
CAPS = st.sampled_from([None, 0, 10, 25, 60])
SHARES = ["all", "part", "more", "nothing"]
REASON: dict[str, Any] = {"reason": "r", "actor": None}


def said(answer: Any) -> Answer:
    """What the package answered, in the model's words."""
    answer = getattr(answer, "result", answer)
    lots = getattr(answer, "lots", None)
    if isinstance(answer, tokens.Subtraction) and any(amount < 0 for _, amount in answer.lots):
        lots = None  # a grant, in fact
    return Answer(
        answer.amount,
        answer.balance_after,
        answer.booked_at,
        None if lots is None else tuple(map(tuple, lots)),
        getattr(answer, "lapsed", None),
        getattr(answer, "expires_at", None),
    )


class Ledger(RuleBasedStateMachine):
    monkeypatch: pytest.MonkeyPatch

    def __init__(self) -> None:
        super().__init__()
        # All of an example is undone at its end, and the clock with it.
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.clock = Clock(noon(2031, 5, 29))
        self.clock.start(self.monkeypatch)
        self.model = Model(USERS, POOLS)
        people = new_users(len(USERS))
        self.owners: dict[str, Any] = dict(zip(OWNERS, [*people, new_pool(), new_pool()], strict=True))
        self.count = 0
        self.calls: list[tuple[Callable[[], Any], Callable[[], Answer]]] = []
        self.seen: list[tuple[datetime, dict[str, tuple[Any, ...]]]] = []
        self.pace = timedelta(milliseconds=1)

    def teardown(self) -> None:
        try:
            if not transaction.get_connection().needs_rollback:
                assert ledger.discrepancies() == []
                if transaction.get_connection().vendor == "sqlite":
                    # Elsewhere it wants a transaction of its own.
                    assert list(tokens.reconcile()) == []
        finally:
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)

    # Saying the same

    def next_key(self) -> str:
        self.count += 1
        return f"key {self.count}"

    def tick(self) -> datetime:
        now = self.clock.at(self.clock.now + self.pace)
        # Where the clock stands still, accounts book some ticks ahead of it. A hold that ends between the two is void
        # for the account's next deed and not yet for who reads the clock; the clock is not stopped just there.
        ahead = max(self.model.last.values(), default=now) + timedelta(milliseconds=1)
        if any(now < hold.expires <= ahead for hold in self.model.holds.values()):
            now = self.clock.at(ahead)
        self.model.now = now
        return now

    def both(self, real: Callable[[], Any], modelled: Callable[[], Answer], *, keep: bool = True) -> Any:
        """Do it on both sides, a moment later than what was before."""
        self.tick()
        lots = len(self.model.lots)
        try:
            expected: Answer | Refused = modelled()
        except Refused as refused:
            expected = refused
        try:
            with transaction.atomic():
                answer = real()
        except tokens.InsufficientTokens as error:
            assert isinstance(expected, Refused), (error, expected)
            assert (type(error).__name__, error.facts) == (expected.error, expected.facts)
            return None
        except Exception as error:
            assert isinstance(expected, Refused), (error, expected)
            assert type(error).__name__ == expected.error, (error, expected)
            return None
        assert not isinstance(expected, Refused), (answer, expected)
        for lot in self.model.lots[lots:]:
            row = TokenAllocation.objects.order_by("-pk")[0]
            lot.number = row.pk
            assert (row.amount, row.starts_at, row.expires_at) == (lot.amount, lot.starts, lot.expires)
        assert said(answer) == expected
        if keep:
            self.calls.append((real, modelled))
        return answer

    @invariant()
    def balances_agree(self) -> None:
        now = self.tick()
        found = tokens.balances(self.owners.values())
        seen = {}
        for name, owner in self.owners.items():
            balance = found[owner]
            seen[name] = (balance.available, balance.held, balance.total, balance.spendable, balance.next_expiry)
            assert seen[name] == self.model.balance(name), name
        if self.pace and all(booked <= now for booked in self.model.last.values()):
            self.seen.append((now, seen))

    # Tokens in and out

    @initialize(caps=st.lists(CAPS, min_size=2, max_size=2))
    def start(self, caps: list[int | None]) -> None:
        for name, cap in zip(USERS, caps, strict=False):
            self.move(name, "team", cap)
        for owner, amount in (("team", 200), ("club", 60), ("ann", 60), ("ben", 20)):
            self.grant(owner, amount, 0, None, None)

    @rule(
        owner=st.sampled_from(OWNERS),
        amount=AMOUNTS,
        priority=st.integers(0, 2),
        starts=st.none() | SPANS,
        expires=st.none() | SPANS,
    )
    def grant(
        self, owner: str, amount: int, priority: int, starts: timedelta | None, expires: timedelta | None
    ) -> None:
        key = self.next_key()
        begin = None if starts is None else self.clock.now + starts
        end = None if expires is None else (begin or self.clock.now) + expires
        terms: dict[str, Any] = {"priority": priority, "starts_at": begin, "expires_at": end}
        self.both(
            partial(tokens.grant, self.owners[owner], amount, source="plan", key=key, **terms),
            partial(self.model.grant, owner, amount, key, "plan", priority, begin, end),
        )

    @rule(owner=st.sampled_from(OWNERS), amount=st.just(0) | AMOUNTS, keyed=st.booleans())
    def consume(self, owner: str, amount: int, keyed: bool) -> None:
        key = self.next_key() if keyed else None
        self.both(
            partial(tokens.consume, self.owners[owner], amount, key=key),
            partial(self.model.consume, owner, amount, key),
            keep=keyed,
        )

    @rule(owner=st.sampled_from(USERS), beyond=st.sampled_from([0, 0, 1]))
    def consume_all(self, owner: str, beyond: int) -> None:
        """What can be spent, to the last token; or one more."""
        self.tick()
        self.consume(owner, self.model.balance(owner)[3] + beyond, True)

    @rule(owner=st.sampled_from(OWNERS), amount=AMOUNTS, ttl=SPANS)
    def hold(self, owner: str, amount: int, ttl: timedelta) -> None:
        key = self.next_key()
        self.both(
            partial(tokens.hold, self.owners[owner], amount, key=key, ttl=ttl),
            partial(self.model.hold, owner, amount, key, ttl),
        )

    def settle(self, key: str, share: str, more: int) -> None:
        held = self.model.holds[key].amount
        amount = {"all": held, "part": held // 2, "more": held + more, "nothing": 0}[share]
        self.both(partial(tokens.settle, key, amount), partial(self.model.settle, key, amount))

    @precondition(lambda self: self.model.holds)
    @rule(place=st.integers(0, 9), share=st.sampled_from(SHARES), more=AMOUNTS)
    def settle_one(self, place: int, share: str, more: int) -> None:
        """One of the latest holds, whatever has become of it."""
        self.settle(list(self.model.holds)[-1 - place % len(self.model.holds)], share, more)

    @rule(
        owner=st.sampled_from(USERS),
        amount=AMOUNTS,
        ttl=SPANS,
        wait=st.none() | SPANS,
        share=st.sampled_from(SHARES),
        more=AMOUNTS,
    )
    def hold_and_settle(
        self, owner: str, amount: int, ttl: timedelta, wait: timedelta | None, share: str, more: int
    ) -> None:
        self.hold(owner, amount, ttl)
        if wait is not None:
            self.wait(wait)
        key = f"key {self.count}"
        if key in self.model.holds:
            self.settle(key, share, more)
            self.release(more)

    @rule(owner=st.sampled_from(USERS), share=st.sampled_from(SHARES), more=AMOUNTS, pool=st.sampled_from(POOLS))
    def hold_all_and_settle(self, owner: str, share: str, more: int, pool: str) -> None:
        """All that can be spent is held; then more comes in, own or of the pool, and it is settled."""
        self.tick()
        spendable = self.model.balance(owner)[3]
        if spendable:
            self.hold(owner, spendable, timedelta(hours=1))
            self.grant(owner, 5, 0, None, None)
            self.grant(pool, 5, 0, None, None)
            # A lot may have expired in the moment between.
            if (key := f"key {self.count - 2}") in self.model.holds:
                self.settle(key, share, more)

    @precondition(lambda self: self.model.holds)
    @rule(place=st.integers(0, 9))
    def release(self, place: int) -> None:
        key = list(self.model.holds)[-1 - place % len(self.model.holds)]
        self.both(partial(tokens.release, key), partial(self.model.release, key))

    @rule(
        owner=st.sampled_from(USERS),
        amount=AMOUNTS,
        wait=st.none() | SPANS,
        parts=st.lists(st.none() | AMOUNTS, min_size=1, max_size=3),
    )
    def consume_and_refund(self, owner: str, amount: int, wait: timedelta | None, parts: list[int | None]) -> None:
        self.consume(owner, amount, True)
        use = f"key {self.count}"
        if wait is not None:
            self.wait(wait)
        for part in parts:
            key = None if part is None else self.next_key()
            self.both(
                partial(tokens.refund, use, part, key=key, reason="r"), partial(self.model.refund, use, part, key)
            )

    @precondition(lambda self: self.model.uses)
    @rule(place=st.integers(0, 9), amount=st.none() | AMOUNTS)
    def refund(self, place: int, amount: int | None) -> None:
        use = list(self.model.uses)[-1 - place % len(self.model.uses)]
        key = None if amount is None else self.next_key()
        self.both(
            partial(tokens.refund, use, amount, key=key, reason="r"), partial(self.model.refund, use, amount, key)
        )

    @rule(owner=st.sampled_from(OWNERS), amount=AMOUNTS)
    def subtract(self, owner: str, amount: int) -> None:
        key = self.next_key()
        self.both(
            partial(tokens.subtract, self.owners[owner], amount, key=key, **REASON),
            partial(self.model.subtract, owner, amount, key),
        )

    @rule(owner=st.sampled_from(OWNERS), amount=AMOUNTS)
    def set_balance(self, owner: str, amount: int) -> None:
        key = self.next_key()
        self.both(
            partial(tokens.set_balance, self.owners[owner], amount, key=key, **REASON),
            partial(self.model.set_balance, owner, amount, key),
        )

    @rule(place=st.integers(0, 9), amount=st.none() | AMOUNTS, expires=st.none() | SPANS)
    def rollover(self, place: int, amount: int | None, expires: timedelta | None) -> None:
        key = self.next_key()
        lot = self.model.lots[-1 - place % len(self.model.lots)]
        end = None if expires is None else self.clock.now + expires
        row = TokenAllocation.objects.get(pk=lot.number)
        self.both(
            partial(tokens.rollover, row, amount, expires_at=end, key=key),
            partial(self.model.rollover, lot, amount, end, key),
        )

    # The world around

    @rule(pace=st.sampled_from([timedelta(0), timedelta(milliseconds=1), timedelta(seconds=1)]))
    def go_on_at(self, pace: timedelta) -> None:
        """How much the clock goes on with each deed; it may stand still."""
        self.pace = pace
        # What was seen until now is past.
        self.clock.on(milliseconds=1)

    @rule(span=SPANS)
    def wait(self, span: timedelta) -> None:
        self.clock.at(self.clock.now + span)

    @rule(data=st.data())
    def wait_until_something_ends(self, data: st.DataObject) -> None:
        """To the very moment at which a lot starts or ends or a hold is void."""
        moments = [hold.expires for hold in self.model.holds.values()]
        moments += [moment for lot in self.model.lots for moment in (lot.starts, lot.expires) if moment]
        moments = sorted({moment - self.pace for moment in moments if moment - self.pace > self.clock.now})
        if moments:
            self.clock.at(data.draw(st.sampled_from(moments)))

    @rule()
    def sweep(self) -> None:
        now = self.tick()
        swept = tokens.expire(as_of=now)
        assert (swept.lots, swept.tokens, swept.holds) == self.model.expire()

    @rule(user=st.sampled_from(USERS), pool=st.sampled_from(POOLS), cap=CAPS)
    def move(self, user: str, pool: str, cap: int | None) -> None:
        self.forget_the_past_of_spendable()
        join(self.owners[pool], self.owners[user], cap=cap)
        self.model.members[user] = type("Member", (), {"pool": pool, "cap": cap})()

    @rule(user=st.sampled_from(USERS))
    def leave(self, user: str) -> None:
        self.forget_the_past_of_spendable()
        leave(self.owners[user])
        self.model.members.pop(user, None)

    @rule(pool=st.sampled_from(POOLS), active=st.booleans())
    def activate(self, pool: str, active: bool) -> None:
        self.forget_the_past_of_spendable()
        row = self.owners[pool]
        row.is_active = active
        row.save()
        (self.model.inactive.discard if active else self.model.inactive.add)(pool)

    def forget_the_past_of_spendable(self) -> None:
        """Who was in which pool when is not kept, so a past `spendable` is reckoned with today's."""
        self.seen = [(at, {name: (*four[:3], None, four[4]) for name, four in seen.items()}) for at, seen in self.seen]

    # What must not matter

    @precondition(lambda self: self.calls)
    @rule(place=st.integers(0, 1_000))
    def repeat(self, place: int) -> None:
        """The same call again: the first answer again, whatever has happened since."""
        real, modelled = self.calls[-1 - place % len(self.calls)]
        answer = self.both(real, modelled, keep=False)
        if answer is not None:
            assert getattr(answer, "result", answer).replayed

    @precondition(lambda self: self.model.keys)
    @rule(
        data=st.data(),
        owner=st.sampled_from(OWNERS),
        amount=AMOUNTS,
        verb=st.sampled_from(["grant", "consume", "hold"]),
    )
    def reuse(self, data: st.DataObject, owner: str, amount: int, verb: str) -> None:
        """A key that was used for something else, or perhaps for this very thing."""
        keys = [key for key in self.model.keys if key.startswith("key ")]
        key = data.draw(st.sampled_from(sorted(keys)))
        whose = self.owners[owner]
        if verb == "grant":
            modelled = partial(self.model.grant, owner, amount, key, "promotion", 0, None, None)
            self.both(partial(tokens.grant, whose, amount, source="promotion", key=key), modelled, keep=False)
        elif verb == "consume":
            modelled = partial(self.model.consume, owner, amount, key)
            self.both(partial(tokens.consume, whose, amount, key=key), modelled, keep=False)
        else:
            modelled = partial(self.model.hold, owner, amount, key, timedelta(hours=1))
            self.both(partial(tokens.hold, whose, amount, key=key, ttl=3600), modelled, keep=False)

    @precondition(lambda self: self.seen)
    @rule(place=st.integers(0, 1_000))
    def look_back(self, place: int) -> None:
        at, seen = self.seen[place % len(self.seen)]
        found = tokens.balances(self.owners.values(), as_of=at)
        for name, owner in self.owners.items():
            balance = found[owner]
            spendable = None if seen[name][3] is None else balance.spendable
            assert (balance.available, balance.held, balance.total, spendable, balance.next_expiry) == seen[name]


def test_the_ledger_does_what_the_model_does(hypothesis_steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "monkeypatch", monkeypatch, raising=False)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Ledger,
        settings=hypothesis.settings(
            max_examples=max(hypothesis_steps // STEPS, 1),
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=PHASES,
        ),
    )
