"""A year in steps of some days, over daylight saving, month ends and a leap day: each period once, on the right day."""

from __future__ import annotations

import random
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from django.db import connection

from django_token_pricing import tokens
from django_token_pricing.lib.periods import Calendar
from django_token_pricing.models import RenewalPeriod, TokenAllocation
from tests.automation.subscribers import at, new_policy, renew, subscribe
from tests.tokens.clock import Clock

pytestmark = pytest.mark.django_db

ZONES = ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]
NUMBER = 100


def test_a_year_grants_every_period_once_on_the_right_day(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(2024)
    clock = Clock(at(2023, 12, 28))
    clock.start(monkeypatch)
    policies = [
        new_policy(rollover="percent", rollover_percent=50),
        new_policy(unit="day", count=30, rollover="all", rollover_periods=2),
        new_policy(anchor="calendar"),
        new_policy(unit="year", lasts="always"),
    ]
    subscriptions = []
    for number in range(NUMBER):
        zone = ZoneInfo(chance.choice(ZONES))
        day = chance.choice([29, 30, 31, 31, chance.randint(1, 28)])
        policy = policies[number % len(policies)]
        if policy.anchor == "calendar":
            # Their first period ends with the month, and must be longer than a step.
            day = chance.randint(1, 22)
        start = datetime(2024, 1, day, chance.choice([0, 2, 10, 23]), 30, tzinfo=zone)
        subscriptions.append((subscribe(policy, start, time_zone=zone.key), policy, zone, start))
    while clock.now < at(2025, 1, 3):
        renew(clock.now)
        for subscription, *_facts in chance.sample(subscriptions, 2):
            free = tokens.balance(subscription.user).available
            if free:
                tokens.consume(subscription.user, chance.randint(1, free), key=f"{subscription.pk}:{clock.now}")
        tokens.expire(as_of=clock.now)
        clock.on(hours=chance.randint(20, 160))
    clock.at(at(2025, 1, 3))
    renew(clock.now)
    wrong = []
    for subscription, policy, zone, start in subscriptions:
        calendar = Calendar(start, zone, policy.unit, policy.count, policy.anchor == "calendar")
        due = [period.starts_at for period in calendar.between(-1, calendar.number_of(clock.now))]
        rows = RenewalPeriod.objects.filter(subscription=subscription).order_by("starts_at")
        if list(rows.values_list("starts_at", flat=True)) != due:
            wrong.append(subscription.pk)
    assert wrong == []
    # Steps are shorter than any period: none was missed, and each was granted.
    assert not RenewalPeriod.objects.filter(outcome="skipped").exists()
    assert TokenAllocation.objects.filter(source="plan").count() == RenewalPeriod.objects.count()
    if connection.vendor == "sqlite":
        assert list(tokens.reconcile()) == []
