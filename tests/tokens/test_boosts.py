"""Emergency boosts: within the policy, so often a month, gone by themselves, large ones by two people."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Permission
from django.db import connection

from django_token_pricing import approvals, signals, tokens
from django_token_pricing.exceptions import ApprovalChanged, ApprovalNeeded, InvalidInput, SamePerson
from django_token_pricing.models import (
    Approval,
    ApprovalRule,
    AuditEvent,
    BoostPolicy,
    LedgerEntry,
    TokenAccount,
    TokenAllocation,
)
from django_token_pricing.tokens.boosts import KIND, allowance
from tests.tokens.clock import Clock, noon
from tests.world import new_pool, new_user

THREADS = 16 if connection.vendor == "postgresql" else 8

pytestmark = pytest.mark.django_db


def policy(tier: str = "", **more: Any) -> BoostPolicy:
    return BoostPolicy.objects.create(
        **{"tier": tier, "most_tokens": 500_000, "most_hours": 48, "per_month": None, **more}
    )


def boost(owner: Any, amount: int = 1_000, **more: Any) -> tokens.Grant:
    until = {} if "until" in more else {"hours": 24}
    return tokens.boost(owner, amount, **{"reason": "The launch is today", "actor": None, **until, **more})


def refusal(owner: Any, amount: int = 1_000, **more: Any) -> tuple[Any, ...]:
    with pytest.raises(tokens.BoostRefused) as refused:
        boost(owner, amount, **more)
    error = refused.value
    assert error.code == "boost_refused"
    assert not LedgerEntry.objects.filter(allocation__source="emergency", amount=amount).exists()
    return error.limit, error.most, error.asked


def of_tier(user: Any, tier: str) -> Any:
    tokens.grant(user, 1, source="manual")
    TokenAccount.objects.filter(user=user).update(tier=tier)
    return user


# What a boost is


def test_a_boost_is_a_lot_that_is_spent_first_and_ends_by_itself(user: Any, clock: Clock) -> None:
    policy()
    tokens.grant(user, 100, source="promotion", priority=50)
    actor = new_user()
    done = boost(user, actor=actor)
    assert (done.amount, done.balance_after, done.replayed) == (1_000, 1_100, False)
    lot = TokenAllocation.objects.get(pk=done.allocation)
    assert (lot.source, lot.priority, lot.expires_at) == ("emergency", 10, done.booked_at + timedelta(hours=24))
    assert tokens.consume(user, 10, key="use").lots == [(lot.pk, 10)]
    event = AuditEvent.objects.action("tokens.boost").get()
    assert (event.actor, event.reason, event.changes["granted"]) == (actor, "The launch is today", [0, 1_000])
    clock.on(hours=25)
    assert tokens.balance(user).available == 100


def test_it_may_end_at_a_moment(user: Any, clock: Clock) -> None:
    policy()
    until = clock.now + timedelta(hours=5)
    assert TokenAllocation.objects.get(pk=boost(user, until=until).allocation).expires_at == until


def test_pools_are_boosted_too() -> None:
    policy()
    member = new_user()
    pool = new_pool(member)
    boost(pool)
    assert tokens.balance(member).spendable == 1_000


def test_the_same_key_boosts_once(user: Any) -> None:
    policy(per_month=1)
    first = boost(user, key="k")
    again = boost(user, key="k")
    assert again == first
    assert again.replayed
    with pytest.raises(tokens.IdempotencyConflict):
        boost(user, 5, key="k")


def test_a_signal_tells_of_it(user: Any, django_capture_on_commit_callbacks: Any) -> None:
    policy()
    told = []

    def listen(sender: Any, result: Any, **kwargs: Any) -> None:
        told.append(result)

    signals.tokens_granted.connect(listen)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            done = boost(user)
    finally:
        signals.tokens_granted.disconnect(listen)
    assert told == [done]


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": " "},
        {"hours": None},
        {"until": noon(2031, 5, 16), "hours": 3},
        {"hours": 0},
        {"hours": True},
        {"hours": 1.5},
        {"hours": 9_000},
        {"until": datetime(2031, 5, 16)},  # noqa: DTZ001 - the naive one is what is refused
        {"until": noon(2031, 5, 14)},
    ],
)
def test_what_makes_no_sense_is_refused(user: Any, clock: Clock, wrong: dict[str, Any]) -> None:
    policy()
    with pytest.raises(InvalidInput):
        boost(user, **wrong)
    assert not LedgerEntry.objects.exists()


@pytest.mark.parametrize("amount", [0, -5, 1.0, True, 2**63])
def test_an_amount_is_a_whole_number_of_tokens(user: Any, amount: Any) -> None:
    policy()
    with pytest.raises(tokens.InvalidAmount):
        boost(user, amount)


# The policy


def test_without_any_policy_there_is_no_boost_and_the_error_says_what_to_make(user: Any) -> None:
    assert refusal(user) == ("policy", 0, 1_000)
    with pytest.raises(tokens.BoostRefused, match="Make one"):
        boost(user)
    policy("team")
    with pytest.raises(tokens.BoostRefused, match="“pro”"):
        boost(of_tier(user, "pro"))


def test_amount_and_duration_are_capped(user: Any) -> None:
    policy(most_tokens=1_000, most_hours=24)
    boost(user, 1_000, hours=24)
    assert refusal(user, 1_001) == ("tokens", 1_000, 1_001)
    assert refusal(user, 999, hours=25) == ("hours", 24, 25)
    with pytest.raises(tokens.BoostRefused, match="at most 1,000 tokens are allowed, and 12,345 are asked for"):
        boost(user, 12_345)


def test_a_moment_a_little_too_late_is_refused_too(user: Any, clock: Clock) -> None:
    policy(most_hours=24)
    assert refusal(user, until=clock.now + timedelta(hours=24, microseconds=1)) == ("hours", 24, 25)
    boost(user, until=clock.now + timedelta(hours=24))


def test_the_tiers_own_policy_goes_before_that_for_all_others(user: Any) -> None:
    policy(most_tokens=10)
    policy("team", most_tokens=1_000)
    policy("TEAM 2", most_tokens=7)
    boost(of_tier(user, "team"), 1_000)
    assert refusal(of_tier(new_user(), "free"), 11) == ("tokens", 10, 11)
    assert refusal(new_pool(), 11) == ("tokens", 10, 11)


def test_so_many_a_month_of_the_sites_zone_for_each_account(user: Any, clock: Clock, settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Kolkata"
    policy(per_month=2)
    last = datetime(2031, 5, 31, 23, 59, tzinfo=ZoneInfo("Asia/Kolkata"))
    for moment in (last - timedelta(days=3), last):
        clock.at(moment)
        boost(user)
    assert refusal(user, 5) == ("month", 2, 3)
    boost(new_user())
    # June begins in Kolkata while it is still May in London.
    clock.on(minutes=1)
    boost(user)
    clock.on(minutes=1)
    boost(user)
    assert refusal(user, 5) == ("month", 2, 3)


def test_what_may_be_given_is_known_beforehand(user: Any) -> None:
    assert allowance(user) is None
    policy(per_month=2)
    assert allowance(user) is not None
    boost(user)
    found = allowance(user)
    assert found is not None
    assert (found.most_tokens, found.most_hours, found.given, found.left) == (500_000, 48, 1, 1)


# Two people


@pytest.fixture
def people() -> tuple[Any, Any]:
    """Who asks and who decides; both may boost."""
    asking, deciding = new_user(), new_user()
    may = Permission.objects.filter(codename__in=["boost_tokens", "decide_approval"])
    for person in (asking, deciding):
        person.user_permissions.set(may)
    return asking, deciding


def ask(owner: Any, actor: Any, **more: Any) -> Approval:
    terms = {"hours": 24, "reason": "The launch", "key": uuid4(), **more}
    return tokens.ask_boost(owner, 200_000, actor=actor, **terms)


def test_a_large_boost_needs_a_second_person_and_is_given_once(user: Any, people: tuple[Any, Any]) -> None:
    policy()
    asking, deciding = people
    boost(user, 100_000)
    with pytest.raises(ApprovalNeeded) as needed:
        boost(user, 100_001)
    assert (needed.value.kind, needed.value.above) == (KIND, 100_000)
    approval = ask(user, asking)
    assert "200,000 tokens for 24 hours" in approvals.deed_of(KIND).title(approval)
    facts = {what: (before, after) for what, before, after in approvals.deed_of(KIND).facts(approval)}
    assert facts["Available"] == (100_000, 300_000)
    assert facts["Boosts this month"] == (1, 2)
    with pytest.raises(SamePerson):
        approvals.approve(approval, actor=asking)
    assert tokens.balance(user).available == 100_000
    approvals.approve(approval, actor=deciding)
    with pytest.raises(ApprovalChanged):
        approvals.approve(approval, actor=deciding)
    assert tokens.balance(user).available == 300_000
    event = AuditEvent.objects.action("tokens.boost").latest("pk")
    assert (event.actor, event.reason) == (asking, "The launch")


def test_hours_count_from_the_approval_on(user: Any, people: tuple[Any, Any], clock: Clock) -> None:
    policy()
    approval = ask(user, people[0])
    clock.on(hours=30)
    approvals.approve(approval, actor=people[1])
    assert TokenAllocation.objects.get().expires_at == clock.now + timedelta(hours=24)


def test_a_moment_is_kept_exactly_and_once_it_is_over_nothing_is_given(
    user: Any, people: tuple[Any, Any], clock: Clock
) -> None:
    policy()
    until = clock.now + timedelta(hours=5, microseconds=7)
    first, late = (ask(user, people[0], hours=None, until=until) for _ in range(2))
    approvals.approve(first, actor=people[1])
    assert TokenAllocation.objects.get().expires_at == until
    clock.on(hours=6)
    with pytest.raises(tokens.InvalidMoment):
        approvals.approve(late, actor=people[1])
    late.refresh_from_db()
    assert late.status == "waiting"


def test_what_the_policy_refuses_cannot_be_asked_for(user: Any, people: tuple[Any, Any]) -> None:
    policy(most_tokens=150_000)
    with pytest.raises(tokens.BoostRefused):
        ask(user, people[0])
    assert not Approval.objects.exists()


def test_a_policy_that_changed_since_counts_when_it_is_approved(user: Any, people: tuple[Any, Any]) -> None:
    made = policy(per_month=1)
    approval = ask(user, people[0])
    boost(user)
    with pytest.raises(tokens.BoostRefused):
        approvals.approve(approval, actor=people[1])
    assert tokens.balance(user).available == 1_000
    BoostPolicy.objects.filter(pk=made.pk).update(per_month=2)
    approvals.approve(approval, actor=people[1])
    assert tokens.balance(user).available == 201_000


def test_the_rule_says_from_which_size_on(user: Any) -> None:
    policy()
    ApprovalRule.objects.create(kind=KIND, above=10)
    with pytest.raises(ApprovalNeeded):
        boost(user, 11)
    ApprovalRule.objects.update(above=None)
    boost(user, 500_000)


def test_the_same_key_asks_once(user: Any, people: tuple[Any, Any]) -> None:
    policy(per_month=1)
    key = uuid4()
    first = ask(user, people[0], key=key)
    approvals.approve(first, actor=people[1])
    assert ask(user, people[0], key=key) == first
    assert Approval.objects.count() == 1


# Many at once


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
def test_one_a_month_admits_one_of_many(in_parallel: Any, race_seeds: range) -> None:
    policy(per_month=1)
    for _seed in race_seeds:
        user = new_user()
        answers = in_parallel([partial(boost, user, key=f"{user.pk}:{number}") for number in range(THREADS)])
        given = [answer for answer in answers if isinstance(answer, tokens.Grant)]
        refused = [answer for answer in answers if isinstance(answer, tokens.BoostRefused)]
        assert (len(given), len(refused)) == (1, THREADS - 1), answers
        assert tokens.balance(user).available == 1_000


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
def test_approved_by_many_at_once_it_is_given_once(in_parallel: Any, race_seeds: range) -> None:
    policy()
    may = list(Permission.objects.filter(codename__in=["boost_tokens", "decide_approval"]))
    asking, deciding = new_user(), new_user()
    for person in (asking, deciding):
        person.user_permissions.set(may)
    for _seed in race_seeds:
        user = new_user()
        approval = ask(user, asking)
        answers = in_parallel([partial(approvals.approve, approval, actor=deciding)] * THREADS)
        assert [isinstance(answer, Approval) for answer in answers].count(True) == 1, answers
        assert [isinstance(answer, ApprovalChanged) for answer in answers].count(True) == THREADS - 1, answers
        assert tokens.balance(user).available == 200_000
