"""Each period's tokens come once, on the right day, by the policy; nothing is renewed by halves."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_token_pricing import tokens
from django_token_pricing.choices import EntryKind
from django_token_pricing.models import Job, LedgerEntry, Renewal, RenewalLot, SubscriptionMirror, TokenAllocation
from tests import world
from tests.automation.subscribers import (
    at,
    available,
    granted_on,
    new_policy,
    periods,
    renew,
    standing,
    subscribe,
    told,
)
from tests.tokens.clock import Clock

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock(at(2025, 1, 31, 10))
    made.start(monkeypatch)
    return made


def to(clock: Clock, moment: datetime) -> Job | None:
    """Time passes until then, and a run comes."""
    return renew(clock.at(moment))


def test_the_31st_is_renewed_on_the_last_day_of_shorter_months(clock: Clock) -> None:
    subscription = subscribe(new_policy(), at(2025, 1, 31, 10))
    for day in range(120):
        to(clock, at(2025, 1, 31, 12) + timedelta(days=day))
    found = [f"{moment:%m-%d %H}" for moment in granted_on(subscription)]
    assert found == ["01-31 10", "02-28 10", "03-31 10", "04-30 10"]
    assert available(subscription) == 1_000


def test_it_renews_at_the_subscribers_own_ten_oclock(clock: Clock) -> None:
    new_york = ZoneInfo("America/New_York")
    anchor = datetime(2025, 2, 15, 10, tzinfo=new_york)
    subscription = subscribe(new_policy(), anchor, time_zone="America/New_York")
    for month in (2, 3):
        to(clock, datetime(2025, month, 15, 10, 1, tzinfo=new_york))
    assert [moment.hour for moment in granted_on(subscription)] == [15, 14]


def test_a_zone_nobody_knows_is_the_sites(clock: Clock) -> None:
    subscription = subscribe(new_policy(), at(2025, 1, 1), time_zone="Nowhere/Atlantis")
    to(clock, at(2025, 1, 31, 10))
    assert available(subscription) == 1_000


def test_two_runs_of_one_moment_grant_once(clock: Clock) -> None:
    subscription = subscribe(new_policy(), at(2025, 1, 31, 10))
    assert to(clock, at(2025, 1, 31, 10)) is not None
    assert renew(clock.now) is None
    assert periods(subscription) == [("2025-01-31", "2025-02-28", "granted", 1_000, 0)]


def test_each_subscription_of_a_user_renews_and_seats_count_where_the_policy_says_so(clock: Clock) -> None:
    user = world.new_user()
    subscribe(new_policy(tokens=1_000), at(2025, 1, 31, 10), user=user)
    other = subscribe(new_policy(tokens=10, is_per_seat=True), at(2025, 1, 20), user=user, quantity=7)
    to(clock, at(2025, 1, 31, 10))
    assert available(other) == 1_070


def test_tokens_end_with_the_period_after_days_or_never(clock: Clock) -> None:
    ends = []
    for lasts, lasts_days in (("period", None), ("days", 45), ("always", None)):
        subscription = subscribe(new_policy(lasts=lasts, lasts_days=lasts_days), at(2025, 1, 31, 10))
        to(clock, at(2025, 1, 31, 10))
        ends.append(TokenAllocation.objects.get(account__user=subscription.user).expires_at)
    assert ends == [at(2025, 2, 28, 10), at(2025, 3, 17, 10), None]


def test_nothing_is_granted_for_periods_before_the_policys_start(clock: Clock) -> None:
    subscription = subscribe(new_policy(starts_at=at(2025, 2, 10)), at(2025, 1, 31, 10))
    to(clock, at(2025, 2, 12))
    assert available(subscription) == 0
    to(clock, at(2025, 2, 28, 10))
    assert granted_on(subscription) == [at(2025, 2, 28, 10)]


def test_a_subscription_that_starts_later_is_renewed_then(clock: Clock) -> None:
    subscription = subscribe(new_policy(), at(2025, 3, 1))
    to(clock, at(2025, 2, 1))
    assert available(subscription) == 0
    assert standing(subscription).due_at == at(2025, 3, 1)
    assert to(clock, at(2025, 2, 28)) is None
    to(clock, at(2025, 3, 1))
    assert available(subscription) == 1_000


# Rollover


def carried(clock: Clock, *, used: int = 0, late: timedelta = timedelta(0), **policy: Any) -> SubscriptionMirror:
    """One period in which so much is used, then the next one, at which the run comes late."""
    subscription = subscribe(new_policy(**policy), at(2025, 1, 31, 10))
    to(clock, at(2025, 1, 31, 10))
    if used:
        tokens.consume(subscription.user, used, key=f"use:{subscription.pk}")
    to(clock, at(2025, 2, 28, 10) + late)
    return subscription


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"rollover": "none"}, 1_000),
        ({"rollover": "all"}, 1_700),
        ({"rollover": "percent", "rollover_percent": 33}, 1_231),
        ({"rollover": "all", "rollover_cap": 250}, 1_250),
        ({"rollover": "percent", "rollover_percent": 50, "rollover_cap": 400}, 1_350),
    ],
)
def test_what_is_left_goes_on_as_the_policy_says(clock: Clock, policy: dict[str, Any], expected: int) -> None:
    assert available(carried(clock, used=300, **policy)) == expected


@pytest.mark.parametrize("late", [timedelta(0), timedelta(minutes=10), timedelta(days=1)])
def test_a_run_that_comes_late_changes_nothing(clock: Clock, late: timedelta) -> None:
    subscription = subscribe(new_policy(rollover="all"), at(2025, 1, 31, 10))
    to(clock, at(2025, 1, 31, 10))
    clock.at(at(2025, 2, 28, 9, 59))
    tokens.consume(subscription.user, 100, key="used")
    tokens.hold(subscription.user, 200, key="held", ttl=timedelta(minutes=3))
    clock.at(at(2025, 2, 28, 10) + late)
    assert available(subscription) == 0
    if late:
        tokens.expire(as_of=clock.now)
    renew(clock.now)
    assert available(subscription) == 1_700
    assert granted_on(subscription)[-1] == at(2025, 2, 28, 10)


def test_what_a_hold_reserved_at_the_end_is_not_carried_and_can_still_be_settled(clock: Clock) -> None:
    subscription = subscribe(new_policy(rollover="all"), at(2025, 1, 31, 10))
    to(clock, at(2025, 1, 31, 10))
    clock.at(at(2025, 2, 28, 9, 55))
    tokens.hold(subscription.user, 200, key="held", ttl=timedelta(hours=1))
    clock.at(at(2025, 2, 28, 10, 5))
    tokens.settle("held", 50)
    to(clock, at(2025, 2, 28, 10, 10))
    assert available(subscription) == 1_800


def test_a_carried_lot_knows_where_it_came_from_and_the_past_stays_as_it_was(clock: Clock) -> None:
    subscription = subscribe(new_policy(rollover="all"), at(2025, 1, 31, 10))
    to(clock, at(2025, 1, 31, 10))
    clock.at(at(2025, 2, 28, 12))
    moments = [at(2025, 2, 10), at(2025, 2, 28, 10), at(2025, 2, 28, 11)]
    before = [tokens.balance(subscription.user, as_of=moment).available for moment in moments]
    renew(clock.now)
    clock.on(hours=1)
    after = [tokens.balance(subscription.user, as_of=moment).available for moment in moments]
    assert before == after == [1_000, 0, 0]
    lot = TokenAllocation.objects.get(account__user=subscription.user, source="rollover")
    assert lot.parent is not None
    assert (lot.parent.source, lot.amount, lot.expires_at) == ("plan", 1_000, at(2025, 3, 31, 10))


def test_the_same_tokens_are_carried_at_most_so_often(clock: Clock) -> None:
    subscription = subscribe(new_policy(rollover="all", rollover_periods=2), at(2025, 1, 31, 10))
    found = []
    for month, day in ((1, 31), (2, 28), (3, 31), (4, 30), (5, 31)):
        to(clock, at(2025, month, day, 10))
        found.append(available(subscription))
    assert found == [1_000, 2_000, 3_000, 3_000, 3_000]


def test_carried_tokens_with_days_of_their_own_end_after_those(clock: Clock) -> None:
    subscription = carried(clock, rollover="all", rollover_days=10)
    assert available(subscription) == 2_000
    clock.at(at(2025, 3, 10, 10))
    assert available(subscription) == 1_000


def test_each_subscription_carries_what_its_own_periods_left(clock: Clock) -> None:
    user = world.new_user()
    policy = new_policy(rollover="all")
    one = subscribe(policy, at(2025, 1, 31, 10), user=user)
    subscribe(policy, at(2025, 2, 10), user=user)
    tokens.grant(user, 5_000, source="manual", expires_at=at(2025, 2, 28, 10))
    to(clock, at(2025, 1, 31, 10))
    to(clock, at(2025, 2, 10))
    to(clock, at(2025, 2, 28, 10))
    assert periods(one)[-1] == ("2025-02-28", "2025-03-31", "granted", 1_000, 1_000)
    assert available(one) == 3_000


def test_what_is_not_carried_lapses_and_the_sweep_books_it(clock: Clock) -> None:
    subscription = carried(clock, rollover="percent", rollover_percent=40, late=timedelta(hours=2))
    clock.on(minutes=1)
    assert tokens.expire(as_of=clock.now).tokens == 600
    kinds = LedgerEntry.objects.filter(account__user=subscription.user).order_by("pk").values_list("kind", "amount")
    assert list(kinds) == [
        (EntryKind.GRANT, 1_000),
        (EntryKind.ROLLOVER_OUT, -400),
        (EntryKind.ROLLOVER_IN, 400),
        (EntryKind.GRANT, 1_000),
        (EntryKind.EXPIRE, -600),
    ]


# Missed periods


def test_missed_periods_that_are_of_use_still_are_caught_up(clock: Clock) -> None:
    subscription = subscribe(new_policy(lasts="days", lasts_days=60), at(2025, 1, 31, 10))
    to(clock, at(2025, 1, 31, 10))
    to(clock, at(2025, 5, 2))
    assert [row[2] for row in periods(subscription)] == ["granted", "skipped", "granted", "granted"]
    assert available(subscription) == 2_000


def test_missed_periods_are_skipped_where_the_policy_says_so(clock: Clock) -> None:
    subscription = subscribe(new_policy(lasts="always", missed="skip"), at(2025, 1, 31, 10))
    to(clock, at(2025, 1, 31, 10))
    to(clock, at(2025, 5, 2))
    assert [row[2] for row in periods(subscription)] == ["granted", "skipped", "skipped", "granted"]
    assert available(subscription) == 2_000


def test_tokens_that_last_for_a_period_are_granted_for_the_present_one_alone(clock: Clock) -> None:
    subscription = subscribe(new_policy(rollover="percent", rollover_percent=50), at(2025, 1, 31, 10))
    to(clock, at(2025, 1, 31, 10))
    to(clock, at(2025, 5, 2))
    assert [row[2] for row in periods(subscription)] == ["granted", "skipped", "skipped", "granted"]
    assert available(subscription) == 1_125


def test_a_subscription_known_late_gets_what_began_since_the_policys_start(clock: Clock) -> None:
    policy = new_policy(lasts="always", starts_at=at(2024, 11, 1))
    subscription = subscribe(policy, at(2024, 8, 31, 10))
    to(clock, at(2025, 1, 31, 10))
    assert [f"{moment:%Y-%m-%d}" for moment in granted_on(subscription)] == ["2024-11-30", "2024-12-31", "2025-01-31"]


def test_who_was_away_for_years_is_taken_up_in_several_runs(clock: Clock) -> None:
    subscription = subscribe(new_policy(unit="day", lasts="always", starts_at=at(2024, 6, 1)), at(2024, 6, 1))
    for _run in range(3):
        renew(clock.at(clock.now + timedelta(minutes=1)))
    assert len(granted_on(subscription)) == 245
    assert renew(clock.now + timedelta(minutes=1)) is None


# Changes within a period


@pytest.mark.parametrize(("on_upgrade", "expected"), [("wait", 1_000), ("difference", 3_000), ("prorated", 2_000)])
def test_an_upgrade_gives_what_the_dearer_plans_policy_says(clock: Clock, on_upgrade: str, expected: int) -> None:
    basic, team = new_policy(), new_policy(tokens=3_000, on_upgrade=on_upgrade)
    subscription = subscribe(basic, at(2025, 3, 1))
    to(clock, at(2025, 3, 1))
    told(subscription, plan_code=team.code)
    to(clock, at(2025, 3, 16, 12))
    assert available(subscription) == expected
    assert renew(clock.on(minutes=1)) is None
    to(clock, at(2025, 4, 1))
    assert available(subscription) == 3_000


def test_a_prorated_upgrade_ends_and_goes_on_with_its_period(clock: Clock) -> None:
    basic, team = new_policy(rollover="all"), new_policy(tokens=3_000, rollover="all")
    subscription = subscribe(basic, at(2025, 3, 1))
    to(clock, at(2025, 3, 1))
    told(subscription, plan_code=team.code)
    to(clock, at(2025, 3, 16, 12))
    to(clock, at(2025, 4, 1))
    assert available(subscription) == 5_000


@pytest.mark.parametrize(
    ("on_downgrade", "used", "expected"), [("keep", 0, 3_000), ("prorated", 0, 2_000), ("prorated", 2_500, 0)]
)
def test_a_downgrade_takes_at_most_what_is_unspent(clock: Clock, on_downgrade: str, used: int, expected: int) -> None:
    basic, team = new_policy(on_downgrade=on_downgrade), new_policy(tokens=3_000)
    subscription = subscribe(team, at(2025, 3, 1))
    tokens.grant(subscription.user, 50, source="purchase")
    to(clock, at(2025, 3, 1))
    if used:
        tokens.consume(subscription.user, used, key="use")
    told(subscription, plan_code=basic.code)
    to(clock, at(2025, 3, 16, 12))
    assert available(subscription) == expected + 50


def test_going_up_and_down_gives_nothing_twice(clock: Clock) -> None:
    basic = new_policy(on_downgrade="prorated")
    team = new_policy(tokens=3_000, on_upgrade="difference")
    subscription = subscribe(basic, at(2025, 3, 1))
    to(clock, at(2025, 3, 1))
    for day in range(2, 12, 2):
        told(subscription, plan_code=team.code)
        to(clock, at(2025, 3, day))
        if spendable := available(subscription):
            tokens.consume(subscription.user, spendable, key=f"all {day}")
        told(subscription, plan_code=basic.code)
        to(clock, at(2025, 3, day + 1))
    used = -sum(LedgerEntry.objects.filter(kind=EntryKind.CONSUME).values_list("amount", flat=True))
    assert used == 3_000


def test_more_seats_are_an_upgrade(clock: Clock) -> None:
    subscription = subscribe(new_policy(tokens=100, is_per_seat=True, on_upgrade="difference"), at(2025, 3, 1))
    to(clock, at(2025, 3, 1))
    told(subscription, quantity=5)
    to(clock, at(2025, 3, 2))
    assert available(subscription) == 500


def test_the_end_of_a_trial_is_no_new_period_unless_the_anchor_moves(clock: Clock) -> None:
    policy = new_policy()
    stays = subscribe(policy, at(2025, 3, 1), status="trialing")
    moves = subscribe(policy, at(2025, 3, 1), status="trialing")
    to(clock, at(2025, 3, 1))
    told(stays, status="active")
    told(moves, status="active", anchor_at=at(2025, 3, 15))
    to(clock, at(2025, 3, 15))
    assert periods(stays) == [("2025-03-01", "2025-04-01", "granted", 1_000, 0)]
    assert periods(moves) == [
        ("2025-03-01", "2025-03-15", "granted", 1_000, 0),
        ("2025-03-15", "2025-04-15", "granted", 1_000, 0),
    ]


def test_a_month_that_becomes_a_year_is_counted_from_the_end_of_the_month(clock: Clock) -> None:
    monthly, yearly = new_policy(), new_policy(tokens=12_000, unit="year", on_upgrade="wait")
    subscription = subscribe(monthly, at(2024, 11, 15))
    to(clock, at(2025, 3, 20))
    told(subscription, plan_code=yearly.code)
    to(clock, at(2025, 3, 21))
    to(clock, at(2025, 4, 15))
    assert periods(subscription)[-1][:2] == ("2025-04-15", "2026-04-15")
    assert renew(clock.on(days=1)) is None
    to(clock, at(2026, 4, 15))
    assert periods(subscription)[-1][:2] == ("2026-04-15", "2027-04-15")


def test_a_subscriber_who_moves_to_another_zone_gets_no_period_of_a_few_hours(clock: Clock) -> None:
    subscription = subscribe(new_policy(), at(2025, 3, 1), time_zone="UTC")
    to(clock, at(2025, 3, 1))
    told(subscription, time_zone="America/New_York")
    for day in range(2, 40):
        to(clock, at(2025, 3, 1) + timedelta(days=day))
    assert len(granted_on(subscription)) == 2


# Ends


@pytest.mark.parametrize(("on_cancel", "left"), [("keep", 1_000), ("expire", 0)])
@pytest.mark.parametrize("facts", [{"status": "canceled"}, {"cancel_at": at(2025, 3, 9)}, {"gone_at": at(2025, 3, 9)}])
def test_a_cancelled_subscription_keeps_or_loses_its_tokens(
    clock: Clock, facts: dict[str, Any], on_cancel: str, left: int
) -> None:
    subscription = subscribe(new_policy(on_cancel=on_cancel), at(2025, 3, 1))
    tokens.grant(subscription.user, 7, source="purchase")
    to(clock, at(2025, 3, 1))
    told(subscription, **facts)
    to(clock, at(2025, 3, 10))
    assert available(subscription) == left + 7
    assert to(clock, at(2025, 4, 2)) is None


def test_a_cancellation_to_come_changes_nothing_until_then(clock: Clock) -> None:
    subscription = subscribe(new_policy(on_cancel="expire"), at(2025, 3, 1), cancel_at=at(2025, 4, 1))
    to(clock, at(2025, 3, 1))
    assert to(clock, at(2025, 3, 20)) is None
    assert available(subscription) == 1_000
    to(clock, at(2025, 4, 1))
    assert standing(subscription).state == "ended"
    assert len(periods(subscription)) == 1


def test_who_takes_a_cancellation_back_goes_on_without_a_second_grant(clock: Clock) -> None:
    subscription = subscribe(new_policy(), at(2025, 3, 1))
    to(clock, at(2025, 3, 1))
    told(subscription, status="canceled")
    to(clock, at(2025, 3, 5))
    told(subscription, status="active")
    to(clock, at(2025, 3, 6))
    assert available(subscription) == 1_000
    to(clock, at(2025, 4, 1))
    assert len(granted_on(subscription)) == 2


def test_past_due_waits_and_carries_over_once_it_is_paid(clock: Clock) -> None:
    subscription = subscribe(new_policy(rollover="all"), at(2025, 3, 1))
    to(clock, at(2025, 3, 1))
    told(subscription, status="past_due")
    to(clock, at(2025, 4, 1))
    assert (standing(subscription).state, available(subscription)) == ("waiting", 0)
    assert tokens.expire(as_of=clock.on(days=1)).tokens == 0
    assert renew(clock.on(days=1)) is None
    told(subscription, status="active")
    to(clock, at(2025, 4, 9))
    assert available(subscription) == 2_000


def test_past_due_is_granted_where_the_policy_says_so(clock: Clock) -> None:
    subscription = subscribe(new_policy(on_past_due="grant"), at(2025, 3, 1), status="past_due")
    to(clock, at(2025, 3, 1))
    assert available(subscription) == 1_000


def test_a_policy_that_is_not_active_renews_nobody(clock: Clock) -> None:
    policy = new_policy()
    subscription = subscribe(policy, at(2025, 3, 1))
    to(clock, at(2025, 3, 1))
    policy.is_active = False
    policy.save()
    to(clock, at(2025, 4, 1))
    assert standing(subscription).state == "ended"
    assert len(granted_on(subscription)) == 1


def test_a_deleted_user_ends_it_and_leaves_nothing_unbooked(clock: Clock) -> None:
    subscription = subscribe(new_policy(rollover="all"), at(2025, 3, 1))
    to(clock, at(2025, 3, 1))
    subscription.user.delete()
    to(clock, at(2025, 4, 1))
    assert standing(subscription).state == "ended"
    assert tokens.expire(as_of=clock.on(days=1)).tokens == 1_000
    assert renew(clock.now) is None


# What cannot be renewed


def test_what_cannot_be_renewed_is_noted_and_the_others_go_on(clock: Clock) -> None:
    policy = new_policy()
    nameless = subscribe("", at(2025, 3, 1))
    ownerless = subscribe(policy, at(2025, 3, 1), user=None)
    startless = subscribe(policy, None)
    beyond = subscribe(new_policy(unit="year", count=9_000), at(2025, 3, 1))
    uncountable = subscribe(new_policy(tokens=2**62, is_per_seat=True), at(2025, 3, 1), quantity=2_000)
    full = subscribe(new_policy(tokens=2**62), at(2025, 3, 1))
    tokens.grant(full.user, 2**62, source="manual")
    good = subscribe(policy, at(2025, 3, 1))
    job = to(clock, at(2025, 3, 1))
    assert job is not None
    assert (job.status, job.done, job.failed) == ("done", 1, 6)
    assert available(good) == 1_000
    for bad in (nameless, ownerless, startless, beyond, uncountable, full):
        found = standing(bad)
        assert (found.state, found.tries, found.due_at) == ("failed", 1, clock.now + timedelta(minutes=5)), found
        assert found.problem
        assert periods(bad) == []
    assert not RenewalLot.objects.exclude(subscription=good).exists()


def test_a_failure_is_tried_again_at_growing_intervals_and_ends_with_its_cause(clock: Clock) -> None:
    subscription = subscribe(new_policy(), None)
    pauses = []
    for _try in range(11):
        to(clock, clock.now)
        due = standing(subscription).due_at
        assert due is not None
        pauses.append(due - clock.now)
        clock.at(due)
    assert pauses[:3] == [timedelta(minutes=minutes) for minutes in (5, 10, 20)]
    assert pauses[-1] == timedelta(days=1)
    told(subscription, anchor_at=clock.now)
    to(clock, clock.now)
    found = standing(subscription)
    assert (found.state, found.problem, found.tries) == ("active", "", 0)
    assert available(subscription) == 1_000


def test_the_number_of_queries_does_not_depend_on_how_many_are_due(clock: Clock) -> None:
    def queries(number: int) -> int:
        policy = new_policy(rollover="all")
        subscriptions = [subscribe(policy, at(2025, 3, 1)) for _number in range(number)]
        to(clock, clock.at(max(clock.now, at(2025, 3, 1))) + timedelta(minutes=number))
        with CaptureQueriesContext(connection) as found:
            to(clock, clock.now + timedelta(days=31))
        assert Renewal.objects.filter(subscription__in=subscriptions, number__gte=1).count() == number
        return len(found)

    # Some databases take fewer values a statement.
    assert queries(60) <= queries(2) + 5


def test_the_command_renews_without_a_beat(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    subscription = subscribe(new_policy(), at(2025, 1, 31, 10))
    call_command("token_pricing_renew", as_of=clock.now.isoformat())
    assert "1" in capsys.readouterr().out
    assert available(subscription) == 1_000
    call_command("token_pricing_renew", as_of=clock.now.isoformat())
    assert "Nothing is due" in capsys.readouterr().out
