"""An account's tier follows its user's subscriptions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_token_pricing.models import TokenAccount
from tests.payments.billing import Billing
from tests.payments.test_sync import DAY, START, run, told

pytestmark = pytest.mark.django_db


@pytest.fixture
def account(new_user: Callable[[], Any]) -> TokenAccount:
    return TokenAccount.objects.create(user=new_user())


def tier(account: TokenAccount) -> str:
    account.refresh_from_db()
    return account.tier


@pytest.mark.parametrize("status", ["trialing", "active", "past_due"])
def test_a_live_subscription_gives_its_tier(host: Billing, account: TokenAccount, status: str) -> None:
    host.events = [told(user=account.user_id, status=status, tier="gold", plan_code="pro")]
    run()
    assert tier(account) == "gold"


def test_a_subscription_without_a_tier_gives_its_plan_code(host: Billing, account: TokenAccount) -> None:
    host.events = [told(user=account.user_id, plan_code="pro")]
    run()
    assert tier(account) == "pro"


@pytest.mark.parametrize("status", ["paused", "canceled", "expired"])
def test_a_subscription_that_ends_takes_the_tier_along(host: Billing, account: TokenAccount, status: str) -> None:
    host.events = [told(user=account.user_id, tier="gold")]
    run()
    host.events = [told(occurred_at=START + DAY, user=account.user_id, status=status, tier="gold")]
    run()
    assert tier(account) == ""


def test_a_subscription_that_is_gone_takes_the_tier_along_and_brings_it_back(
    host: Billing, account: TokenAccount
) -> None:
    host.events = [told(user=account.user_id, tier="gold")]
    host.refs = []
    run(full=True)
    assert tier(account) == ""
    host.refs = ["sub-1"]
    run(full=True)
    assert tier(account) == "gold"


def test_of_several_live_subscriptions_the_newest_period_counts(host: Billing, account: TokenAccount) -> None:
    def period(ref: str, day: int | None, **facts: Any) -> Any:
        return told(ref, user=account.user_id, tier=ref, period_starts_at=day and START + day * DAY, **facts)

    host.events = [period("new", 3), period("ended", 4, status="canceled"), period("old", 2), period("open", None)]
    run()
    assert tier(account) == "new"


def test_a_subscription_handed_to_another_user_moves_the_tier(
    host: Billing, account: TokenAccount, new_user: Callable[[], Any]
) -> None:
    heir = TokenAccount.objects.create(user=new_user())
    host.events = [told(user=account.user_id, tier="gold")]
    run()
    host.events = [told(occurred_at=START + DAY, user=heir.user_id, tier="gold")]
    run()
    assert (tier(account), tier(heir)) == ("", "gold")


def test_other_accounts_keep_their_tier(host: Billing, account: TokenAccount) -> None:
    other = TokenAccount.objects.create(tier="by hand")
    host.events = [told(user=account.user_id, tier="gold"), told("sub-2", tier="gold")]
    run()
    assert tier(other) == "by hand"


def test_an_account_that_missed_its_tier_gets_it_when_the_event_is_read_again(
    host: Billing, new_user: Callable[[], Any]
) -> None:
    user = new_user()
    host.events = [told(user=user.pk, tier="gold")]
    run()
    account = TokenAccount.objects.create(user=user)
    assert run(full=True).changed == 0
    assert tier(account) == "gold"


def test_an_account_whose_tier_is_right_is_neither_locked_nor_written(host: Billing, account: TokenAccount) -> None:
    host.events = [told(user=account.user_id, tier="gold")]
    run()
    host.events = [told(occurred_at=START + DAY, user=account.user_id, tier="gold")]
    with CaptureQueriesContext(connection) as captured:
        assert run().changed == 1
    table = TokenAccount._meta.db_table
    assert [sql for query in captured if table in (sql := query["sql"]) and ("UPDATE" in sql)] == []
