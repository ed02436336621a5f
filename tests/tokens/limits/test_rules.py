"""Rules as people set them: what is refused, what is kept of it, and which one counts."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from django_token_pricing import tokens
from django_token_pricing.exceptions import InvalidInput
from django_token_pricing.models import AuditEvent, LimitRule, TokenAccount
from django_token_pricing.tokens.limits import rules
from tests.tokens.clock import Clock
from tests.tokens.limits.setting import give, limit, use
from tests.world import new_pool, new_user

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "terms",
    [
        {"scope": "nobody"},
        {"scope": "user"},
        {"scope": "tier"},
        {"tier": "pro"},
        {"metric": "words"},
        {"window": "year"},
        {"limit": -1},
        {"limit": 1.5},
        {"limit": True},
        {"limit": 2**63},
        {"limit": 2**63 - 1, "mode": "grace", "grace": 1},
        {"time_zone": "Mars/Olympus"},
        {"time_zone": "../etc/passwd"},
        {"time_zone": "Europe"},
        {"window": "total", "alignment": "rolling"},
        {"window": "request", "time_zone": "Europe/Berlin"},
        {"alignment": "rolling", "time_zone": "Europe/Berlin"},
        {"window": "request", "metric": "requests"},
        {"window": "total", "mode": "throttle"},
        {"window": "request", "mode": "throttle"},
        {"mode": "grace"},
        {"grace": 5},
        {"window": "total", "counting": "cache"},
        {"counting": "cache", "mode": "soft"},
        {"model": "m" * 201},
        {"feature": "\x00"},
        {"reason": " "},
    ],
)
def test_what_contradicts_itself_is_refused_and_nothing_is_written(terms: dict[str, Any]) -> None:
    given = {"scope": "default", "limit": 5, "reason": "why not", "actor": None, **terms}
    with pytest.raises(InvalidInput):
        tokens.set_limit(**given)
    assert not LimitRule.objects.exists()


def test_a_limit_that_ends_before_it_begins_or_is_over_is_refused(clock: Clock) -> None:
    with pytest.raises(InvalidInput):
        limit(5, starts_at=clock.now + timedelta(days=2), ends_at=clock.now + timedelta(days=1))
    with pytest.raises(tokens.InvalidMoment):
        limit(5, ends_at=clock.now)


def test_two_rules_for_the_same_are_refused_whatever_else_they_say(user: Any) -> None:
    first = limit(5, user=user, model="m1")
    with pytest.raises(tokens.LimitTaken) as refusal:
        limit(9, user=user, model="m1", alignment="rolling", mode="soft", counting="ledger")
    assert (refusal.value.rule, refusal.value.code) == (first.pk, "limit_taken")
    limit(9, user=user), limit(9, user=user, model="m1", metric="requests"), limit(9, "hour", user=user, model="m1")


def test_a_rule_that_has_ended_makes_room_and_one_that_is_retired_does(clock: Clock) -> None:
    ended = limit(5, ends_at=clock.now + timedelta(days=1))
    clock.on(days=1)
    second = limit(6)
    ended.refresh_from_db()
    assert ended.retired_at == clock.now
    tokens.retire_limit(second, reason="enough", actor=None)
    limit(7)
    assert list(LimitRule.objects.filter(retired_at=None).values_list("limit", flat=True)) == [7]


def test_a_rule_is_changed_in_its_place_and_leaves_versions_and_events(user: Any) -> None:
    actor = new_user()
    rule = limit(5, user=user)
    changed = tokens.set_limit(
        scope="user", user=user, limit=8, mode="soft", rule=rule, reason="they asked for more", actor=actor
    )
    assert changed.pk == rule.pk
    version = LimitRule.history.first()
    assert (version.limit, version.history_user, version.history_change_reason) == (8, actor, "they asked for more")
    event = AuditEvent.objects.get(action="limits.change")
    assert event.changes == {"limit": [5, 8], "mode": ["hard", "soft"]}
    assert event.actor == actor
    tokens.retire_limit(changed, reason="over", actor=actor)
    with pytest.raises(InvalidInput):
        tokens.retire_limit(changed, reason="over", actor=actor)
    with pytest.raises(InvalidInput):
        limit(9, user=user, rule=changed)


WHOM = ("user", "pool", "tier", "default")
FOR = ({"model": "m1", "feature": "chat"}, {"model": "m1"}, {"feature": "chat"}, {})


def test_of_all_rules_that_fit_the_most_specific_counts(user: Any) -> None:
    pool = new_pool(user)
    give(user)
    TokenAccount.objects.filter(user=user).update(tier="pro")
    terms: dict[str, dict[str, Any]] = {"user": {"user": user}, "pool": {"pool": pool}, "tier": {"tier": "pro"}}
    order = list(product(WHOM, FOR))
    # Each rule from the least specific on refuses more than the last one, and is the one that says so.
    for place, (whom, what) in enumerate(reversed(order), start=1):
        rule = limit(100 - place, "request", **terms.get(whom, {}), **what)
        with pytest.raises(tokens.LimitExceeded) as refusal:
            use(user, 101, model="m1", feature="chat")
        assert refusal.value.rule == rule.pk
        assert [found.pk for found in rules.in_force(user, as_of=rule.created_at, **FOR[0])] == [rule.pk]


def test_a_rule_for_another_model_feature_tier_pool_or_user_says_nothing(user: Any) -> None:
    give(user)
    limit(0, user=new_user()), limit(0, pool=new_pool()), limit(0, tier="pro"), limit(0, model="m2")
    limit(0, feature="search")
    use(user, 5, model="m1", feature="chat")
    with pytest.raises(tokens.LimitExceeded):
        use(user, 5, model="m2")


def test_a_more_specific_rule_of_one_window_leaves_the_others_in_force(user: Any) -> None:
    give(user)
    limit(10, "day"), limit(50, "day", user=user), limit(20, "hour"), limit(2, "day", metric="requests")
    use(user, 15)
    with pytest.raises(tokens.LimitExceeded) as refusal:
        use(user, 6)
    assert refusal.value.window == "hour"
    use(user, 5)
    with pytest.raises(tokens.LimitExceeded) as refusal:
        use(user, 0)
    assert (refusal.value.metric, refusal.value.requested) == ("requests", 1)


def test_a_rule_that_is_counted_in_the_cache_takes_the_place_of_less_specific_ones(user: Any) -> None:
    give(user)
    limit(0), limit(0, user=user, counting="cache")
    use(user, 5)
    assert tokens.limits(user) == []


def test_a_pool_falls_under_its_own_rules_alone() -> None:
    pool = new_pool()
    give(pool)
    limit(5)
    use(pool, 6)
    rule = limit(10, pool=pool)
    with pytest.raises(tokens.LimitExceeded) as refusal:
        use(pool, 5)
    assert (refusal.value.rule, refusal.value.used) == (rule.pk, 6)
    use(pool, 4)


def test_erasing_a_user_takes_the_reasons_of_the_users_limits(user: Any) -> None:
    give(user)
    limit(5, user=user), limit(6)
    tokens.erase(user)
    assert set(LimitRule.history.filter(user=user).values_list("history_change_reason", flat=True)) == {""}
    assert sorted(AuditEvent.objects.filter(action="limits.set").values_list("reason", flat=True)) == [
        "",
        "as the test wants",
    ]
