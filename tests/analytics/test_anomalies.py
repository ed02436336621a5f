"""Anomaly rules: what each kind finds, that an alert is there once, what people make of it, and trying a rule out."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from django_token_pricing import analytics, jobs, notifications, tasks, tokens
from django_token_pricing.analytics import anomalies
from django_token_pricing.exceptions import InvalidInput, InvalidMoment
from django_token_pricing.models import (
    Anomaly,
    AnomalyRule,
    AuditEvent,
    Job,
    Notification,
    RollupState,
    ScheduledRun,
    TokenAccount,
    TokenUsageLog,
)
from tests import world
from tests.analytics.hours import BEGIN, HOUR, NOW, day_and_night, fill, folded

pytestmark = pytest.mark.django_db

YESTERDAY_NOON = datetime(2026, 11, 22, 12, tzinfo=NOW.tzinfo)
# A Friday.
FRIDAY_NOON = datetime(2026, 11, 20, 12, tzinfo=NOW.tzinfo)


def rule(kind: str = "seasonal", scope: str = "site", **fields: Any) -> AnomalyRule:
    return AnomalyRule.objects.create(name=kind, kind=kind, scope=scope, **{"least": 1, **fields})


def found(as_of: datetime = NOW) -> list[Anomaly]:
    return analytics.find_anomalies(as_of=as_of).new


def times(factor: int, at: datetime, hours: int = 1) -> Any:
    """As ever, but for some hours with many times the uses."""
    return lambda moment: day_and_night(moment) * (factor if at <= moment < at + hours * HOUR else 1)


def test_usage_as_ever_raises_no_alert() -> None:
    fill()
    for kind, scopes in anomalies.SCOPES.items():
        for scope in scopes:
            rule(kind, scope)

    assert found() == []


def test_usage_far_above_its_hour_is_told_with_its_numbers() -> None:
    fill(times(20, YESTERDAY_NOON))
    rule()
    (alert,) = found()

    assert (alert.kind, alert.scope, alert.target, alert.state) == ("seasonal", "site", "", "open")
    assert alert.starts_at == YESTERDAY_NOON
    assert alert.ends_at == YESTERDAY_NOON + HOUR
    assert alert.value == 100 * 100
    assert alert.expected == pytest.approx(Decimal(500), rel=Decimal("0.1"))
    reason = anomalies.reason(alert)
    assert "10,000 tokens in an hour, where about" in reason
    assert "times the usual deviation above" in reason


def test_what_is_less_than_the_rules_least_is_not_told() -> None:
    fill(times(20, YESTERDAY_NOON))
    rule(least=10_000)

    assert found() == []


def test_the_hour_that_is_not_over_and_what_is_not_rolled_up_yet_do_not_count() -> None:
    fill(times(20, NOW - timedelta(minutes=20)))
    rule()
    rule("silence")
    assert found() == []
    folded(NOW - timedelta(hours=9))
    assert found(NOW) == []
    RollupState.objects.all().delete()
    assert found() == []


def test_a_model_is_told_by_its_name() -> None:
    fill(model="claude")
    fill(times(20, YESTERDAY_NOON))
    rule(scope="model")

    assert [alert.target for alert in found()] == ["gpt-4o"]


def test_silence_is_told_when_two_whole_hours_were_expected_to_have_many_uses() -> None:
    silent = datetime(2026, 11, 23, 8, tzinfo=NOW.tzinfo)
    fill(lambda moment: 0 if moment >= silent else 10 * day_and_night(moment))
    rule("silence")
    (alert,) = found()

    assert (alert.starts_at, alert.ends_at, alert.value) == (silent, silent + 2 * HOUR, 0)
    assert alert.expected == 200
    assert anomalies.reason(alert) == (
        "Nothing came in 2 hours, where about 200 uses were expected by the weeks before."
    )


def test_a_weekend_on_which_nobody_works_is_no_silence() -> None:
    fill(lambda moment: 0 if moment.weekday() >= 5 else 10 * day_and_night(moment))
    rule("silence")

    assert found(datetime(2026, 11, 22, 20, tzinfo=NOW.tzinfo)) == []


def test_a_tier_that_uses_much_after_weeks_of_nothing_has_a_sudden_start() -> None:
    fill()
    fill(lambda moment: 50, tier="trial", until=BEGIN + 24 * HOUR)
    fill(lambda moment: 50, tier="trial", since=YESTERDAY_NOON)
    rule("start", "tier", least=10_000)
    (alert,) = found()

    assert (alert.target, alert.starts_at) == ("trial", YESTERDAY_NOON)
    assert "tokens after 54 days without any use" in anomalies.reason(alert)


def test_a_cost_far_above_is_told_in_money_and_without_the_permission_as_a_multiple() -> None:
    def dear(moment: datetime) -> Decimal:
        return Decimal("0.01") * (40 if moment == YESTERDAY_NOON else 1)

    fill(cost=dear)
    rule("cost_spike")
    (alert,) = found()

    assert alert.value == Decimal("2.0")
    assert "USD 2.00" in anomalies.reason(alert)
    assert "USD" not in anomalies.reason(alert, with_costs=False)
    assert "times as much" in anomalies.reason(alert, with_costs=False)


def test_a_model_that_was_never_used_before_is_told_once() -> None:
    fill()
    fill(lambda moment: 5, model="gpt-6", since=YESTERDAY_NOON)
    rule("new_model", "model")
    (alert,) = found()

    assert (alert.target, alert.starts_at) == ("gpt-6", YESTERDAY_NOON)
    assert found() == []


def test_on_a_new_site_all_models_are_new_and_none_is_told() -> None:
    fill(since=NOW - timedelta(days=2, minutes=20))
    rule("new_model", "model")

    assert found() == []


def test_a_burst_has_many_uses_of_few_tokens_each() -> None:
    fill(times(30, YESTERDAY_NOON), each=lambda moment: 2 if moment == YESTERDAY_NOON else 100)
    rule("burst")
    (alert,) = found()

    assert (alert.value, alert.facts["tokens_each"]) == (150, 2)
    assert "150 uses in an hour with 2 tokens each" in anomalies.reason(alert)


def test_many_uses_of_the_usual_size_are_no_burst() -> None:
    fill(times(30, YESTERDAY_NOON))
    rule("burst")

    assert found() == []


# Accounts


def account_with(days: dict[int, tuple[int, int]], now: datetime = NOW) -> TokenAccount:
    """Uses of an account: by days ago, how many and of how many tokens each."""
    account, _is_new = TokenAccount.objects.get_or_create(user=world.new_user())
    rows = []
    for ago, (count, amount) in sorted(days.items(), reverse=True):
        at = now - timedelta(days=ago, hours=1)
        rows += [TokenUsageLog(account=account, amount=amount, used_at=at, booked_at=now) for _ in range(count)]
    TokenUsageLog.objects.bulk_create(rows)
    return account


def test_an_account_with_a_day_far_above_all_before_is_told() -> None:
    rng = random.Random(1)
    usual = {ago: (10, rng.randint(90, 110)) for ago in range(1, 29)}
    account_with(usual)
    account = account_with({**usual, 0: (10, 2_000)})
    rule(scope="account", least=1_000)
    (alert,) = found()

    assert (alert.account, alert.target, alert.value) == (account, str(account.pk), 20_000)
    assert "20,000 tokens in a day" in anomalies.reason(alert)


def test_an_account_that_uses_as_much_as_ever_or_little_is_not_told() -> None:
    account_with(dict.fromkeys(range(29), (10, 2000)))
    account_with({**dict.fromkeys(range(1, 29), (1, 1)), 0: (1, 500)})
    rule(scope="account", least=1_000)

    assert found() == []


def test_an_account_that_starts_with_much_is_told() -> None:
    account = account_with({0: (10, 2_000)})
    account_with({0: (10, 2_000), 5: (1, 1)})
    rule("start", "account", least=1_000)

    assert [alert.account for alert in found()] == [account]


def test_an_account_with_a_burst_of_small_requests_is_told() -> None:
    account = account_with({**dict.fromkeys(range(1, 20), (5, 1000)), 0: (300, 10)})
    account_with({**dict.fromkeys(range(1, 20), (5, 1000)), 0: (300, 1_000)})
    rule("burst", "account", least=100)

    assert [alert.account for alert in found()] == [account]


def test_accounts_are_read_in_as_many_queries_however_many_they_are(django_assert_max_num_queries: Any) -> None:
    for _ in range(12):
        account_with({0: (2, 2_000), 3: (1, 100)})
    rule(scope="account", least=1_000)
    rule("burst", "account", least=1)
    with django_assert_max_num_queries(150):
        found()


# Once each


def test_an_alert_is_there_once_however_often_it_is_looked_for() -> None:
    fill(times(20, YESTERDAY_NOON))
    rule()
    found()

    assert found() == found(NOW + HOUR) == []
    assert Anomaly.objects.count() == 1


def test_an_alert_that_goes_on_is_extended() -> None:
    fill(times(20, YESTERDAY_NOON, hours=6))
    rule()
    folded(YESTERDAY_NOON + 2 * HOUR)
    assert len(found(YESTERDAY_NOON + 2 * HOUR)) == 1
    folded()
    result = analytics.find_anomalies(as_of=NOW)

    assert (len(result.new), result.extended) == (0, 1)
    assert Anomaly.objects.get().ends_at >= YESTERDAY_NOON + 6 * HOUR


def test_a_rule_that_is_off_finds_nothing() -> None:
    fill(times(20, YESTERDAY_NOON))
    rule(is_active=False)

    assert found() == []


def test_while_one_is_muted_nothing_more_of_its_rule_and_target_is_told() -> None:
    def twice(moment: datetime) -> int:
        return times(20, FRIDAY_NOON)(moment) * times(20, YESTERDAY_NOON)(moment) // day_and_night(moment)

    fill(twice)
    rule()
    folded(FRIDAY_NOON + 2 * HOUR)
    (alert,) = found(FRIDAY_NOON + 2 * HOUR)
    anomalies.mute([alert], until=timezone.now() + timedelta(days=400), actor=None)
    folded()

    assert found() == []
    Anomaly.objects.update(muted_until=NOW - HOUR)
    assert len(found()) == 1


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidMoment):
        analytics.find_anomalies(as_of=datetime(2026, 11, 1))  # noqa: DTZ001


# Telling operators


def operator() -> Any:
    user = world.new_user()
    user.user_permissions.add(Permission.objects.get(codename="receive_warnings"))
    return user


def test_operators_are_told_once_of_a_new_alert() -> None:
    reader = operator()
    world.new_user()
    fill(times(20, YESTERDAY_NOON))
    rule()

    assert tasks.analytics.find_anomalies(as_of=NOW.isoformat()) == {"alerts": 1}
    assert tasks.analytics.find_anomalies(as_of=NOW.isoformat()) == {"alerts": 0}
    (told,) = Notification.objects.all()
    words = notifications.words(told)
    assert told.user_id == reader.pk
    assert words.title == "Unlike its hours and days: the site"
    assert "10,000 tokens in an hour" in words.text
    assert "The rule: seasonal." in words.text


def test_what_workers_slept_through_is_told_when_they_are_back() -> None:
    week = timedelta(days=7)
    fill(times(20, NOW.replace(hour=12, minute=0) - week))
    rule()
    ScheduledRun.objects.create(
        task="django_token_pricing.analytics.find_anomalies", started_at=NOW - week - HOUR, outcome="done"
    )

    assert tasks.analytics.find_anomalies(as_of=NOW.isoformat()) == {"alerts": 1}


def test_of_many_alerts_of_a_rule_operators_are_told_in_one_line() -> None:
    operator()
    fill()
    for model in ("a", "b", "c"):
        fill(lambda moment: 5, model=model, since=YESTERDAY_NOON)
    rule("new_model", "model")
    analytics.find_anomalies(as_of=NOW, told=notifications.tell_anomalies)

    assert notifications.words(Notification.objects.get()).title == "New model: 3 alerts"


def test_a_notification_says_no_cost() -> None:
    operator()
    fill(cost=lambda moment: Decimal("0.01") * (40 if moment == YESTERDAY_NOON else 1))
    rule("cost_spike")
    analytics.find_anomalies(as_of=NOW, told=notifications.tell_anomalies)

    assert "USD" not in notifications.words(Notification.objects.get()).text


# Decisions


def alert(**fields: Any) -> Anomaly:
    given = {"kind": "seasonal", "scope": "site", "starts_at": NOW, "ends_at": NOW, "value": 5, "found_at": NOW}
    return Anomaly.objects.create(rule=fields.pop("rule", None) or rule(), **{**given, **fields})


def test_acknowledging_says_who_and_whether_it_was_real_and_is_in_the_audit_trail() -> None:
    actor = world.new_user()
    one = alert()

    assert anomalies.acknowledge([one], is_real=True, note="A launch", actor=actor) == 1
    one.refresh_from_db()
    assert (one.state, one.is_real, one.decided_by, one.note) == ("acknowledged", True, actor, "A launch")
    event = AuditEvent.objects.get(action="anomalies.acknowledge")
    assert (event.actor_id, event.reason, event.target_id) == (actor.pk, "A launch", str(one.pk))
    assert event.changes["state"] == ["open", "acknowledged"]


def test_what_is_said_again_changes_nothing() -> None:
    one = alert()
    anomalies.resolve([one], actor=None)

    assert anomalies.resolve([one], actor=None) == 0
    assert AuditEvent.objects.filter(action="anomalies.resolve").count() == 1


def test_resolving_keeps_what_was_said_of_it_and_reopening_takes_it_back() -> None:
    one = alert()
    anomalies.acknowledge([one], is_real=False, actor=None)
    anomalies.resolve([one], actor=None)
    one.refresh_from_db()
    assert one.is_real is False
    anomalies.reopen([one], actor=None)
    one.refresh_from_db()
    assert (one.state, one.is_real, one.muted_until) == ("open", None, None)


def test_muting_until_what_is_past_is_refused() -> None:
    with pytest.raises(InvalidMoment):
        anomalies.mute([alert()], until=timezone.now() - HOUR, actor=None)


def test_the_precision_of_a_rule_counts_what_people_said() -> None:
    one, other = rule(), rule("silence")
    for number, is_real in enumerate([True, True, False, None]):
        alert(rule=one, is_real=is_real, starts_at=NOW + number * HOUR)
    alert(rule=other)

    assert anomalies.precision([one, other]) == {one.pk: (2, 1)}


# Rules


def test_the_rules_to_begin_with_can_be_saved_and_looked_for() -> None:
    for one in analytics.default_rules():
        one.full_clean()
        one.save()
        anomalies.require_possible(one.kind, one.scope)

    assert AnomalyRule.objects.count() >= 5


@pytest.mark.parametrize(("kind", "scope"), [("silence", "account"), ("new_model", "site"), ("cost_spike", "account")])
def test_what_cannot_be_looked_for_there_is_refused(kind: str, scope: str) -> None:
    with pytest.raises(InvalidInput):
        anomalies.require_possible(kind, scope)


# Trying a rule out


def replay(days: int = 30, **values: Any) -> Job:
    terms = {"kind": "seasonal", "scope": "site", "sensitivity": 5, "least": 1, **values}
    job = anomalies.ask_anomaly_replay(terms, days=days, actor=None, key=uuid4())
    jobs.work(job.pk)
    job.refresh_from_db()
    return job


@pytest.fixture
def recent(monkeypatch: Any) -> datetime:
    """Usage until now, with a planted fault nine days ago."""
    now = timezone.now()
    at = now.replace(minute=0, second=0, microsecond=0) - timedelta(days=9)
    fill(times(20, at), since=at - timedelta(days=50), until=now)
    folded(now)
    return at


def test_a_trial_says_what_a_rule_would_have_told(recent: datetime) -> None:
    job = replay()

    assert (job.status, job.result["alerts"], job.result["a_week"]) == ("done", 1, 0.23)
    (example,) = job.result["examples"]
    assert datetime.fromisoformat(example["starts_at"]) == recent
    assert Anomaly.objects.count() == 0


def test_what_a_trial_found_is_found_again_by_exactly_its_values(recent: datetime) -> None:
    job = replay()
    terms = {"kind": "seasonal", "scope": "site", "sensitivity": 5, "least": 1}

    assert anomalies.anomaly_replay_of(terms, max_age=timedelta(days=1)) == job
    assert anomalies.anomaly_replay_of({**terms, "sensitivity": 6}, max_age=timedelta(days=1)) is None
    assert anomalies.anomaly_replay_of(terms, max_age=timedelta(0)) is None


def test_a_trial_on_accounts_looks_at_each_day() -> None:
    now = timezone.now()
    usual = dict.fromkeys(range(4, 29), (10, 100))
    account = account_with({**usual, 3: (10, 2_000)}, now)
    job = replay(days=5, scope="account", least=1_000)

    assert [example["account"] for example in job.result["examples"]] == [account.pk]


@pytest.mark.parametrize(
    "values",
    [{"days": 0}, {"days": 9_999}, {"sensitivity": 99}, {"kind": "silence", "scope": "account"}, {"least": -1}],
)
def test_a_trial_that_cannot_be_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        replay(**values)


# From the rows of usage


def test_rules_read_what_was_really_used() -> None:
    from tests.analytics.rolled import roll_up

    user = world.new_user()
    tokens.grant(user, 1_000_000, source="manual", reason="Test")
    now = timezone.now()
    for days in range(10, 0, -1):
        tokens.consume(user, 10, key=None, model="old", used_at=now - timedelta(days=days))
    tokens.consume(user, 500, key=None, model="new", used_at=now - timedelta(hours=2))
    roll_up()
    rule("new_model", "model", least=100)

    assert [one.target for one in analytics.find_anomalies().new] == ["new"]


# Any series


def test_a_finding_in_any_series_says_why_in_words() -> None:
    points = [(BEGIN + place * HOUR, 900.0 if place == 400 else 100.0 + place % 7) for place in range(500)]
    (finding,) = analytics.detect(points)

    assert (finding.kind, finding.at, finding.value) == ("spike", points[400][0], 900)
    assert finding.reason.startswith("900 in an hour, where about 10")
    assert finding.low <= finding.expected <= finding.high
