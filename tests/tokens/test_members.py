"""Who is in a pool: in and out, caps, and uses that happen meanwhile."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from django_token_pricing import tokens
from django_token_pricing.models import AuditEvent, PoolMember, TokenPool
from tests.world import new_pool, new_user, new_users

pytestmark = pytest.mark.django_db

WHY: dict[str, Any] = {"reason": "team change", "actor": None}


def members(pool: TokenPool) -> dict[Any, int | None]:
    return dict(pool.members.values_list("user", "monthly_cap"))


def test_members_come_in_with_a_cap_and_go(user: Any) -> None:
    pool, other = new_pool(), new_user()
    answer = tokens.add_members(pool, [user, other, user], monthly_cap=5, **WHY)
    assert (answer.changed, answer.unchanged) == (2, 0)
    assert members(pool) == {user.pk: 5, other.pk: 5}
    assert tokens.remove_members(pool, [other, new_user()], **WHY).changed == 1
    assert members(pool) == {user.pk: 5}


def test_who_is_a_member_already_gets_the_cap_and_the_same_again_changes_nothing(user: Any) -> None:
    pool = new_pool(user)
    assert tokens.add_members(pool, [user], monthly_cap=7, **WHY).changed == 1
    events = AuditEvent.objects.count()
    for answer in (tokens.add_members(pool, [user], monthly_cap=7, **WHY), tokens.set_caps(pool, [user], 7, **WHY)):
        assert (answer.changed, answer.unchanged, answer.event) == (0, 1, None)
    assert AuditEvent.objects.count() == events
    assert tokens.set_caps(pool, [user], None, **WHY).changed == 1
    assert members(pool) == {user.pk: None}


def test_nobody_is_taken_out_of_another_pool_by_accident(user: Any) -> None:
    old, new, free = new_pool(user), new_pool(), new_user()
    with pytest.raises(tokens.MemberElsewhere) as refusal:
        tokens.add_members(new, [free, user], **WHY)
    assert (refusal.value.user, refusal.value.pool, refusal.value.count) == (user.get_username(), old.name, 1)
    assert members(new) == {}
    tokens.add_members(new, [free, user], move=True, **WHY)
    assert (members(old), members(new)) == ({}, {free.pk: None, user.pk: None})


def test_what_makes_no_sense_is_refused(user: Any) -> None:
    pool = new_pool()
    for cap in (-1, 1.5, True, 2**63):
        with pytest.raises(tokens.InvalidAmount):
            tokens.add_members(pool, [user], monthly_cap=cap, **WHY)  # type: ignore[arg-type]
    for who in (pool, "user", type(user)()):
        with pytest.raises(tokens.UnknownOwner):
            tokens.add_members(pool, [who], **WHY)
    with pytest.raises(ValueError, match="reason"):
        tokens.add_members(pool, [user], reason=" ", actor=None)
    assert members(pool) == {}


def test_each_change_says_who_why_and_how_many(user: Any) -> None:
    pool, admin = new_pool(), new_user()
    answer = tokens.add_members(pool, [user, new_user()], monthly_cap=9, reason="New team", actor=admin)
    event = AuditEvent.objects.get(pk=answer.event)
    assert (event.action, event.actor, event.reason, event.count) == ("pools.add_members", admin, "New team", 2)
    assert event.changes == {"members_added": [0, 2], "members_moved": [0, 0], "monthly_cap": [None, 9]}


def versions(**wanted: Any) -> list[tuple[Any, ...]]:
    found = PoolMember.history.filter(**wanted).order_by("history_id")
    return list(found.values_list("history_type", "pool", "monthly_cap", "history_user", "history_change_reason"))


def test_each_change_of_a_membership_leaves_a_version_with_who_and_why(user: Any) -> None:
    old, new, admin = new_pool(), new_pool(), new_user()
    tokens.add_members(old, [user], monthly_cap=5, reason="joins", actor=admin)
    tokens.add_members(new, [user], monthly_cap=5, move=True, reason="moves", actor=admin)
    tokens.set_caps(new, [user, new_user()], 7, reason="more", actor=admin)
    tokens.set_caps(new, [user], 7, reason="the same again", actor=admin)
    tokens.remove_members(new, [user, new_user()], reason="leaves " + "x" * 500, actor=None)
    assert versions(user=user.pk) == [
        ("+", old.pk, 5, admin.pk, "joins"),
        ("~", new.pk, 5, admin.pk, "moves"),
        ("~", new.pk, 7, admin.pk, "more"),
        ("-", new.pk, 7, None, ("leaves " + "x" * 500)[:500]),
    ]
    assert len({version.id for version in PoolMember.history.filter(user=user.pk)}) == 1


def test_a_refused_change_leaves_no_version(user: Any) -> None:
    tokens.add_members(new_pool(), [user], **WHY)
    before = PoolMember.history.count()
    with pytest.raises(tokens.MemberElsewhere):
        tokens.add_members(new_pool(), [new_user(), user], **WHY)
    assert PoolMember.history.count() == before


def test_a_host_that_switched_history_off_has_none(user: Any, settings: Any) -> None:
    settings.SIMPLE_HISTORY_ENABLED = False
    pool = new_pool()
    tokens.add_members(pool, [user], **WHY)
    tokens.remove_members(pool, [user], **WHY)
    assert versions(user=user.pk) == []


def test_members_of_a_deleted_user_leave_a_version_too(user: Any) -> None:
    tokens.add_members(new_pool(), [user], **WHY)
    key = user.pk
    user.delete()
    assert [kind for kind, *_rest in versions(user=key)] == ["+", "-"]


@pytest.mark.parametrize("number", [1, 600])
def test_removing_and_capping_take_few_queries_for_many_members(
    number: int, django_assert_max_num_queries: Any
) -> None:
    pool, users = new_pool(), new_users(number)
    tokens.add_members(pool, users, **WHY)
    with django_assert_max_num_queries(35):
        tokens.set_caps(pool, users, 9, **WHY)
    with django_assert_max_num_queries(35):
        assert tokens.remove_members(pool, users, **WHY).changed == number
    assert PoolMember.history.filter(pool=pool, history_type="-").count() == number


def test_the_number_of_queries_does_not_grow_with_the_members(django_assert_max_num_queries: Any) -> None:
    pool, users = new_pool(), new_users(400)
    with django_assert_max_num_queries(25):
        tokens.add_members(pool, users, **WHY)


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
def test_members_come_and_go_while_they_use_the_pool(in_parallel: Any) -> None:
    users = new_users(6)
    pools = [new_pool(*users[:3]), new_pool(*users[3:])]
    for owner in (*pools, *users):
        tokens.grant(owner, 10, source="manual")
    for pool in pools:
        tokens.grant(pool, 100_000, source="manual")

    def use(n: int) -> None:
        for turn in range(10):
            uses = [tokens.Use(user, 1, key=f"{n}:{turn}:{place}") for place, user in enumerate(users)]
            try:
                tokens.consume_many(uses)
            except tokens.InsufficientTokens:
                continue  # one of them is in no pool just now

    def move(n: int) -> None:
        for turn in range(10):
            tokens.add_members(pools[(n + turn) % 2], users[::-1], move=True, **WHY)
            tokens.remove_members(pools[turn % 2], users[n::2], **WHY)

    answers = in_parallel([*(partial(use, n) for n in range(4)), *(partial(move, n) for n in range(2))])
    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    assert PoolMember.objects.filter(user__in=users).count() <= 6
    assert list(tokens.reconcile()) == []
