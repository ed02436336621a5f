"""Little left: told once a calendar month, and once more after each top-up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_token_pricing import notifications, tokens
from django_token_pricing.models import Notification, TokenAccount, WarningRule, WarningState, WarningTally
from django_token_pricing.signals import balance_low, warnings_fired
from tests import world
from tests.notifications import rules
from tests.notifications.rules import scan, titles, use
from tests.tokens.clock import Clock

pytestmark = pytest.mark.django_db


def test_who_falls_below_a_share_is_told_once(user: Any) -> None:
    rules.low(10)
    tokens.grant(user, 1_000, source="plan")
    use(user, 899)
    assert scan() == 0
    use(user, 1)
    assert (scan(), scan()) == (1, 0)
    use(user, 50)
    assert scan() == 0
    assert titles(user) == ["You have 100 tokens left"]
    assert notifications.words(Notification.objects.get()).text == "That is 10% of the 1,000 that you were granted."
    assert WarningTally.objects.get().fired == 1


def test_who_falls_below_a_number_is_told_once(user: Any) -> None:
    rules.low_tokens(50)
    tokens.grant(user, 1_000, source="plan")
    use(user, 949)
    assert scan() == 0
    use(user, 1)
    assert (scan(), scan()) == (1, 0)


def test_nought_is_a_threshold(user: Any) -> None:
    rules.low(0)
    tokens.grant(user, 10, source="plan")
    use(user, 9)
    assert scan() == 0
    use(user, 1)
    assert scan() == 1
    assert titles(user) == ["Your tokens are used up"]


def test_a_top_up_arms_the_warning_again(user: Any) -> None:
    rules.low(10)
    tokens.grant(user, 1_000, source="plan")
    use(user, 950)
    assert scan() == 1
    tokens.grant(user, 1_000, source="purchase")
    assert scan() == 0
    use(user, 900)
    assert (scan(), scan()) == (1, 0)
    assert len(titles(user)) == 2
    assert WarningState.objects.count() == 1


def test_a_top_up_that_was_used_up_before_anybody_looked_counts(user: Any) -> None:
    rules.low(10)
    tokens.grant(user, 1_000, source="plan")
    use(user, 950)
    assert scan() == 1
    tokens.grant(user, 1_000, source="purchase")
    use(user, 1_040)
    assert (scan(), scan()) == (1, 0)


def test_a_top_up_that_leaves_it_low_changes_nothing(user: Any) -> None:
    rules.low(10)
    tokens.grant(user, 1_000, source="plan")
    use(user, 990)
    assert scan() == 1
    tokens.grant(user, 30, source="purchase")
    assert scan() == 0
    use(user, 30)
    assert scan() == 0
    tokens.refresh_summaries()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        notifications.warn()
    # It is no candidate any more: nothing asks for its balance.
    assert not [query for query in queries if "tokenallocation" in query["sql"]]


def test_refunds_and_carrying_over_are_no_top_up(user: Any) -> None:
    rules.low(10)
    lot = tokens.grant(user, 1_000, source="plan")
    tokens.consume(user, 950, key="much")
    assert scan() == 1
    tokens.refund("much", 500, key="some", reason="Wrong")
    use(user, 500)
    tokens.rollover(rules.account(user).allocations.get(pk=lot.allocation), 50, expires_at=None)
    assert scan() == 0


def test_a_new_month_is_a_new_period(clock: Clock, user: Any) -> None:
    rules.low(10)
    tokens.grant(user, 1_000, source="plan")
    use(user, 950)
    assert scan(clock.on(minutes=1)) == 1
    assert scan(clock.on(days=10)) == 0
    # Ten in the evening of the last of May is June in Berlin.
    clock.on(days=6, hours=11)
    use(user, 1)
    assert scan(clock.on(minutes=1)) == 1
    assert list(WarningState.objects.values_list("period", flat=True)) == ["2031-05", "2031-06"]
    scan(clock.on(days=40))
    assert not WarningState.objects.filter(period="2031-05").exists()


def test_thresholds_fire_one_after_the_other(user: Any) -> None:
    for percent in (50, 20, 5):
        rules.low(percent)
    tokens.grant(user, 1_000, source="plan")
    use(user, 500)
    assert scan() == 1
    use(user, 300)
    assert scan() == 1
    use(user, 170)
    assert scan() == 1
    assert titles(user) == ["You have 500 tokens left", "You have 200 tokens left", "You have 30 tokens left"]


def test_of_thresholds_that_are_crossed_at_once_the_tightest_speaks(user: Any) -> None:
    wide, tight, tokens_left = rules.low(50), rules.low(5), rules.low_tokens(200)
    tokens.grant(user, 1_000, source="plan")
    use(user, 960)
    assert (scan(), scan()) == (1, 0)
    assert [row.rule for row in rules.rows()] == [tight]
    assert {state.rule for state in WarningState.objects.all()} == {wide, tight, tokens_left}
    tokens.grant(user, 1_000, source="purchase")
    use(user, 850)
    assert scan() == 1
    assert rules.rows()[-1].rule == tokens_left


def test_operators_have_a_tightest_of_their_own(user: Any) -> None:
    operator = rules.operator()
    wide = rules.low(50, tells_user=False, tells_admins=True)
    tight = rules.low(10)
    tokens.grant(user, 1_000, source="plan")
    use(user, 950)
    assert scan() == 2
    assert [row.rule for row in notifications.inbox(operator)] == [wide]
    assert [row.rule for row in notifications.inbox(user)] == [tight]


def test_operators_get_one_notification_for_all_accounts_of_a_batch() -> None:
    operator = rules.operator()
    rules.low(10, tells_user=False, tells_admins=True)
    users = world.new_users(3)
    for number, user in enumerate(users):
        tokens.grant(user, 100, source="plan")
        use(user, 95 if number else 50)
    assert scan() == 2
    assert titles(operator) == ["2 accounts have little left"]
    use(users[0], 45)
    scan()
    assert titles(operator)[1:] == [f"{users[0].get_username()} has little left"]
    assert notifications.words(rules.rows()[-1]).text == "Left: 5 of 100. The warning: at most 10% is left."


def test_a_rule_of_one_tier_is_for_that_tier(user: Any) -> None:
    other = world.new_user()
    rules.low(10, tier="team")
    for one in (user, other):
        tokens.grant(one, 100, source="plan")
        use(one, 95)
    TokenAccount.objects.filter(user=other).update(tier="team")
    assert scan() == 1
    assert (titles(user), len(titles(other))) == ([], 1)


def test_a_rule_that_is_switched_off_is_silent(user: Any) -> None:
    rules.low(10, is_active=False)
    tokens.grant(user, 100, source="plan")
    use(user, 100)
    assert scan() == 0


def test_who_had_nothing_this_month_is_left_alone(clock: Clock, user: Any) -> None:
    rules.low(10)
    rules.low_tokens(10)
    tokens.grant(user, 100, source="plan")
    use(user, 100)
    assert scan(clock.on(minutes=1)) == 1
    assert scan(clock.on(days=31)) == 0


def test_a_lot_of_a_year_that_is_used_up_is_news(clock: Clock, user: Any) -> None:
    rules.low(0)
    tokens.grant(user, 100, source="plan")
    clock.on(days=60)
    use(user, 100)
    assert scan(clock.on(minutes=1)) == 1


def test_what_is_held_is_not_left(user: Any) -> None:
    rules.low(10)
    tokens.grant(user, 100, source="plan")
    with tokens.hold(user, 95, key="job"):
        assert scan() == 1


def test_who_may_draw_on_a_pool_is_not_low(user: Any) -> None:
    rules.low(10)
    rules.low_tokens(10)
    pool = world.new_pool(user)
    tokens.grant(pool, 500, source="purchase")
    tokens.grant(user, 100, source="plan")
    use(user, 100)
    assert scan() == 0
    use(user, 499)
    assert scan() == 1


def test_a_pool_that_is_low_is_for_operators(user: Any) -> None:
    operator = rules.operator()
    rules.low(20, tells_admins=True)
    pool = world.new_pool(user)
    tokens.grant(pool, 100, source="purchase")
    use(user, 90)
    scan()
    assert f"{pool.name} has little left" in titles(operator)
    assert Notification.objects.filter(account=pool.account).exclude(user=operator).count() == 0


def test_a_deleted_user_is_told_nothing(user: Any) -> None:
    rules.low(10, tells_admins=True)
    tokens.grant(user, 100, source="plan")
    use(user, 100)
    tokens.refresh_summaries()
    user.delete()
    assert notifications.warn().warnings == 0


def test_what_the_summaries_say_is_checked_in_the_ledger(user: Any) -> None:
    rules.low(10)
    tokens.grant(user, 100, source="plan")
    use(user, 100)
    tokens.refresh_summaries()
    tokens.grant(user, 100, source="purchase")
    assert notifications.warn().warnings == 0


def test_who_wants_to_hear_nothing_is_told_nothing_and_the_warning_has_fired(user: Any) -> None:
    rules.low(10)
    notifications.set_preference(user, "low", by_mail=False, in_app=False)
    tokens.grant(user, 100, source="plan")
    use(user, 95)
    assert scan() == 1
    assert rules.rows() == []
    notifications.set_preference(user, "low", in_app=True)
    assert scan() == 0


@pytest.mark.parametrize(
    ("by_mail", "in_app", "expected"), [(False, True, ("none", True)), (True, False, ("waiting", False))]
)
def test_each_way_can_be_switched_off(user: Any, by_mail: bool, in_app: bool, expected: tuple[str, bool]) -> None:
    rules.low(10)
    notifications.set_preference(user, "low", by_mail=by_mail, in_app=in_app)
    tokens.grant(user, 100, source="plan")
    use(user, 95)
    scan()
    row = Notification.objects.get()
    assert (row.mail, row.is_shown) == expected
    assert len(titles(user)) == int(in_app)


def test_signals_come_once_a_batch_with_all_that_was_written(
    user: Any, django_capture_on_commit_callbacks: Any
) -> None:
    told: list[Any] = []
    low: list[Any] = []

    def hear(sender: Any, notifications: Any, **kwargs: Any) -> None:
        told.append((sender, notifications))

    def hear_low(sender: Any, accounts: Any, **kwargs: Any) -> None:
        low.append(accounts)

    warnings_fired.connect(hear)
    balance_low.connect(hear_low)
    rules.low(10)
    users = [user, *world.new_users(2)]
    for one in users:
        tokens.grant(one, 100, source="plan")
        use(one, 95)
    with django_capture_on_commit_callbacks(execute=True):
        scan()
    assert [(sender, sorted(row.user_id for row in rows)) for sender, rows in told] == [
        (WarningRule, sorted(one.pk for one in users))
    ]
    assert low == [sorted(rules.account(one).pk for one in users)]


def low_accounts(number: int) -> None:
    users = world.new_users(number)
    tokens.grant_many([tokens.GrantRow(user, 100) for user in users], source="plan")
    tokens.subtract_many(TokenAccount.objects.filter(user__in=users), 95, reason="Test", actor=None)


def test_queries_grow_by_batch_and_not_by_account() -> None:
    counts = []
    rules.low(10)
    rules.low(5)
    rules.operator()
    for number in (10, 400):
        low_accounts(number)
        tokens.refresh_summaries()
        with CaptureQueriesContext(connection) as queries:
            assert notifications.warn().notifications == number
        statements = [query["sql"] for query in queries]
        # SQLite takes few parameters, so that one bulk insert is several statements there.
        counts.append(len(statements) - sum(sql.startswith(("INSERT", "UPDATE")) for sql in statements))
    assert counts[0] == counts[1]
    assert counts[0] < 25


def test_a_thousand_are_done_in_batches() -> None:
    rules.low(10)
    low_accounts(1_010)
    tokens.refresh_summaries()
    with CaptureQueriesContext(connection) as queries:
        assert notifications.warn() == notifications.Warned(warnings=1_010, notifications=1_010)
    statements = [query["sql"] for query in queries]
    assert len(statements) - sum(sql.startswith(("INSERT", "UPDATE")) for sql in statements) < 60
    assert notifications.warn().warnings == 0


def test_a_moment_without_a_zone_is_refused(clock: Clock) -> None:
    with pytest.raises(tokens.InvalidMoment):
        notifications.warn(as_of=clock.now.replace(tzinfo=None) + timedelta(days=1))
