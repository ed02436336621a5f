"""What lists sort and filter by: the summaries say what the ledger says, as of the refresh."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from datetime import timezone as utc
from functools import partial
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from django_token_pricing import tokens
from django_token_pricing.models import AccountSummary, LedgerEntry, SummaryRefresh, TokenAccount, TokenAllocation
from django_token_pricing.tokens import summaries
from tests import world
from tests.tokens.clock import Clock

pytestmark = pytest.mark.django_db


def test_a_summary_says_what_the_ledger_says() -> None:
    now = timezone.now()
    user = world.new_user()
    ends = now + timedelta(days=3)
    tokens.grant(user, 1_000, source="manual", expires_at=ends)
    tokens.grant(user, 500, source="plan", starts_at=now + timedelta(days=1))
    tokens.consume(user, 300, key="use:1", feature="chat")
    tokens.hold(user, 50, key="job:1")
    TokenAccount.objects.filter(user=user).update(tier="team")
    run = tokens.refresh_summaries()
    row = AccountSummary.objects.get(account__user=user)
    assert (row.available, row.granted, row.used, row.state, row.tier) == (650, 1_500, 300, "ok", "team")
    assert row.next_expiry == ends
    assert row.last_used_at is not None
    assert (run.accounts, run.tiers) == (1, ["team"])
    assert tokens.latest_refresh() == run


def test_each_account_is_empty_low_or_has_enough() -> None:
    spent = dict(zip(world.new_users(4), (1_000, 950, 900, 0), strict=True))
    for user, amount in spent.items():
        tokens.grant(user, 1_000, source="plan")
        tokens.consume(user, amount, key=f"use:{user.pk}")
    tokens.refresh_summaries()
    states = [AccountSummary.objects.get(account__user=user).state for user in spent]
    assert states == ["empty", "low", "low", "ok"]


def test_a_refresh_follows_what_changed_and_leaves_the_rest() -> None:
    one, two = world.new_users(2)
    tokens.grant_many([tokens.GrantRow(one, 10), tokens.GrantRow(two, 10)], source="plan")
    tokens.refresh_summaries()
    tokens.consume(one, 4, key="use:1")
    tokens.refresh_summaries()
    found = {row.account.user: (row.available, row.used) for row in AccountSummary.objects.all()}
    assert found == {one: (6, 4), two: (10, 0)}
    assert SummaryRefresh.objects.count() == 2


def test_numbers_may_be_far_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "RANGE", 2)
    users = world.new_users(5)
    for user, number in zip(users, (1, 7, 10**12, 10**15, 2**62), strict=True):
        TokenAccount.objects.create(pk=number, user=user)
        tokens.grant(user, 10, source="plan")
    assert tokens.refresh_summaries().accounts == 5
    assert list(AccountSummary.objects.values_list("available", flat=True)) == [10] * 5


def test_what_lapsed_is_gone_without_a_sweep() -> None:
    user = world.new_user()
    tokens.grant(user, 10, source="plan", expires_at=timezone.now() + timedelta(milliseconds=200))
    tokens.refresh_summaries()
    assert AccountSummary.objects.get().available == 10
    time.sleep(0.3)
    tokens.refresh_summaries()
    assert AccountSummary.objects.get().available == 0


def test_a_month_begins_in_the_sites_zone(clock: Clock, user: Any) -> None:
    """It is June in Berlin from ten in the evening of the last of May, as UTC tells it."""
    before, after = datetime(2031, 5, 31, 21, tzinfo=utc.utc), datetime(2031, 5, 31, 23, tzinfo=utc.utc)
    clock.at(before)
    tokens.grant(user, 100, source="plan")
    tokens.consume(user, 30, key="use:1")
    tokens.refresh_summaries()
    assert sums() == (70, 100, 30)
    clock.at(after)
    tokens.grant(user, 5, source="plan")
    tokens.consume(user, 7, key="use:2")
    tokens.refresh_summaries()
    assert sums() == (68, 5, 7)


def test_what_was_carried_over_was_not_granted_again(user: Any) -> None:
    lot = TokenAllocation.objects.get(pk=tokens.grant(user, 100, source="plan").allocation)
    tokens.rollover(lot, 60, expires_at=None)
    tokens.refresh_summaries()
    assert sums() == (100, 100, 0)


def test_what_is_live_counts_for_what_is_little_as_well(clock: Clock, user: Any, settings: Any) -> None:
    """A lot of a year was granted months ago."""
    tokens.grant(user, 1_000, source="plan")
    tokens.consume(user, 920, key="use:1")
    clock.on(days=40)
    tokens.refresh_summaries()
    assert (sums(), AccountSummary.objects.get().state) == ((80, 0, 0), "low")
    settings.TOKEN_PRICING = {**settings.TOKEN_PRICING, "LOW_BALANCE_PERCENT": 5}
    tokens.refresh_summaries()
    assert AccountSummary.objects.get().state == "ok"


def test_a_pool_has_used_what_its_members_drew_and_they_what_they_used(user: Any) -> None:
    pool = world.new_pool(user)
    tokens.grant(user, 10, source="plan")
    tokens.grant(pool, 100, source="purchase")
    tokens.consume(user, 50, key="use:1")
    tokens.refresh_summaries()
    used = {row.account.pool_id: row.used for row in AccountSummary.objects.select_related("account")}
    assert used == {None: 50, pool.pk: 40}
    last = AccountSummary.objects.filter(account__pool=pool).values_list("last_used_at", flat=True)
    assert list(last) == list(LedgerEntry.objects.filter(member__isnull=False).values_list("booked_at", flat=True))


def test_while_one_refresh_is_at_work_another_leaves_it_alone(user: Any) -> None:
    tokens.grant(user, 10, source="plan")
    now = timezone.now()
    at_work = SummaryRefresh.objects.create(started_at=now, seen_at=now)
    assert tokens.refresh_summaries() == at_work
    assert not AccountSummary.objects.exists()
    # It was killed.
    SummaryRefresh.objects.update(seen_at=now - timedelta(minutes=11))
    assert tokens.refresh_summaries().finished_at is not None
    assert AccountSummary.objects.get().available == 10


def test_the_command_says_what_it_did(user: Any, capsys: pytest.CaptureFixture[str]) -> None:
    tokens.grant(user, 10, source="plan")
    call_command("token_pricing_refresh_summaries")
    assert capsys.readouterr().out == "The summary of 1 account is fresh.\n"
    now = timezone.now()
    SummaryRefresh.objects.create(started_at=now, seen_at=now)
    call_command("token_pricing_refresh_summaries")
    assert capsys.readouterr().out == "Another refresh is at work.\n"


def test_all_ranges_of_accounts_are_refreshed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "RANGE", 2)
    tokens.grant_many([tokens.GrantRow(user, 10) for user in world.new_users(7)], source="plan")
    assert tokens.refresh_summaries().accounts == 7
    assert set(AccountSummary.objects.values_list("available", flat=True)) == {10}


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
def test_many_refreshes_at_once_amid_traffic_end_with_what_the_ledger_says(
    in_parallel: Any, monkeypatch: pytest.MonkeyPatch, race_seeds: range
) -> None:
    monkeypatch.setattr(summaries, "RANGE", 5)
    # As if all of them had started in the same moment.
    monkeypatch.setattr(summaries, "SILENCE", timedelta(days=-1))
    for seed in race_seeds:
        people = world.new_users(12)
        tokens.grant_many([tokens.GrantRow(user, 100) for user in people[:6]], source="plan")

        def use(part: int, people: list[Any] = people, seed: int = seed) -> None:
            for number, user in enumerate(people):
                tokens.grant(user, 5, source="plan")
                tokens.consume(user, 1, key=f"{seed}:{part}:{number}")

        calls = [tokens.refresh_summaries] * 4 + [partial(use, part) for part in range(3)]
        answers = in_parallel(calls)
        assert [answer for answer in answers if isinstance(answer, Exception)] == []
        tokens.refresh_summaries()
        found = {row.account.user: int(row.available) for row in AccountSummary.objects.select_related("account__user")}
        assert {user: found[user] for user in people} == {
            user: balance.available for user, balance in tokens.balances(people).items()
        }


def sums() -> tuple[int, int, int]:
    row = AccountSummary.objects.get()
    return row.available, int(row.granted), int(row.used)
