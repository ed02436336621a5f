"""Emergency boosts by a person: within the policy, large ones asked for, policies changed with a reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from django_token_pricing import approvals, tokens
from django_token_pricing.models import Approval, AuditEvent, BoostPolicy, TokenAccount, TokenAllocation
from tests import world
from tests.admin import site

pytestmark = pytest.mark.django_db

Login = Callable[[Any], Client]
MAY = ("view_tokenaccount", "view_tokenpool", "boost_tokens")


@pytest.fixture
def policy(db: None) -> BoostPolicy:
    return BoostPolicy.objects.create(tier="", most_tokens=500_000, most_hours=48, per_month=2)


@pytest.fixture
def account(db: None) -> TokenAccount:
    user = world.new_user()
    return TokenAccount.objects.get(pk=tokens.grant(user, 100, source="manual").account)


def given(**more: Any) -> dict[str, Any]:
    return {"key": str(uuid4()), "amount": "70,000", "hours": "24", "reason": "The launch is today", **more}


def text(response: Any) -> str:
    return str(response.content.decode())


# The form


def test_the_form_says_what_the_policy_allows_and_what_is_left(
    as_: Login, policy: BoostPolicy, account: TokenAccount
) -> None:
    client = as_(site.staff(*MAY))
    tokens.boost(account, 5, hours=1, reason="r", actor=None)
    page = text(client.get(site.deed(account, "boost")))
    for fact in ("500,000", "48", 'Left this month</dt><dd class="tp-break">1<', "Approval above", "100,000"):
        assert fact in page
    assert 'value="Give boost"' in page


def test_a_boost_is_given_and_the_page_says_so(as_: Login, policy: BoostPolicy, account: TokenAccount) -> None:
    client = as_(site.staff(*MAY))
    response = client.post(site.deed(account, "boost"), given(), follow=True)
    assert "70,000 tokens were given for 24 hours. Available now: 70,100." in text(response)
    assert response.redirect_chain[-1][0] == site.page(account)
    assert TokenAllocation.objects.get(source="emergency").amount == 70_000


def test_a_pool_is_boosted_from_its_page(as_: Login, policy: BoostPolicy) -> None:
    pool = world.new_pool()
    client = as_(site.staff(*MAY))
    assert pool.name in text(client.get(site.deed(pool, "boost")))
    response = client.post(site.deed(pool, "boost"), given(notify="on"), follow=True)
    assert "70,000 tokens were given" in text(response)
    assert tokens.balance(pool).available == 70_000


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"amount": "500,001"}, "at most 500,000 tokens are allowed, and 500,001 are asked for"),
        ({"hours": "49"}, "at most 48 hours"),
        ({"hours": "0"}, "greater than or equal to 1"),
        ({"reason": " "}, "This field is required"),
    ],
)
def test_what_is_refused_comes_back_with_the_cause(
    as_: Login, policy: BoostPolicy, account: TokenAccount, wrong: dict[str, str], message: str
) -> None:
    client = as_(site.staff(*MAY))
    assert message in text(client.post(site.deed(account, "boost"), given(**wrong)))
    assert not TokenAllocation.objects.filter(source="emergency").exists()


def test_without_a_policy_the_page_says_what_is_missing(as_: Login, account: TokenAccount) -> None:
    client = as_(site.staff(*MAY))
    assert "Somebody has to make one" in text(client.get(site.deed(account, "boost")))
    assert "Make one that names no tier" in text(client.post(site.deed(account, "boost"), given()))


# Two people


def test_a_large_boost_is_asked_for_and_leads_to_the_request(
    as_: Login, policy: BoostPolicy, account: TokenAccount
) -> None:
    person = site.staff(*MAY, "view_approval")
    client, url, data = as_(person), site.deed(account, "boost"), given(amount="200,000")
    page = text(client.post(url, data))
    assert "A second person has to agree: 200,000 is above 100,000." in page
    assert 'value="Ask for approval"' in page
    assert 'name="ask" value="on"' in page
    assert 'name="notify"' not in page
    assert not Approval.objects.exists()
    response = client.post(url, {**data, "ask": "on"})
    approval = Approval.objects.get()
    assert response["Location"] == site.page(approval)
    assert (approval.asked_by, approval.size, approval.reason) == (person, 200_000, "The launch is today")
    # Sent twice it is asked once.
    assert client.post(url, {**data, "ask": "on"})["Location"] == site.page(approval)
    approvals.approve(approval, actor=site.staff("boost_tokens", "decide_approval"))
    assert tokens.balance(account).available == 200_100


def test_made_smaller_it_is_given_at_once(as_: Login, policy: BoostPolicy, account: TokenAccount) -> None:
    client = as_(site.staff(*MAY))
    response = client.post(site.deed(account, "boost"), given(ask="on"))
    assert response["Location"] == site.page(account)
    assert not Approval.objects.exists()
    assert tokens.balance(account).available == 70_100


def test_who_may_not_see_requests_is_led_back_to_the_account(
    as_: Login, policy: BoostPolicy, account: TokenAccount
) -> None:
    client = as_(site.staff("view_tokenaccount", "boost_tokens"))
    response = client.post(site.deed(account, "boost"), given(amount="200,000", ask="on"))
    assert response["Location"] in (site.page(account), site.page(Approval.objects.get()))


# Policies


def form(**more: str) -> dict[str, str]:
    given = {"tier": "team", "most_tokens": "250,000", "most_hours": "24", "per_month": "3", "reason": "Agreed"}
    return {**given, **more}


def add() -> str:
    return reverse("admin:django_token_pricing_boostpolicy_add")


@pytest.fixture
def editor(as_: Login) -> Client:
    may = [f"{deed}_boostpolicy" for deed in ("view", "add", "change", "delete")]
    return as_(site.staff(*may))


def test_a_policy_is_made_changed_and_deleted_with_reasons(editor: Client) -> None:
    assert editor.post(add(), form()).status_code == 302
    policy = BoostPolicy.objects.get()
    assert (policy.tier, policy.most_tokens, policy.most_hours, policy.per_month) == ("team", 250_000, 24, 3)
    assert editor.post(site.page(policy), form(most_hours="48", reason="Longer")).status_code == 302
    event = AuditEvent.objects.action("boost_policies.change").get()
    assert (event.reason, event.changes) == ("Longer", {"most_hours": [24, 48]})
    history = text(editor.get(reverse("admin:django_token_pricing_boostpolicy_history", args=[policy.pk])))
    assert "Longer" in history
    response = editor.post(site.deed(policy, "delete"), {"key": str(uuid4()), "reason": "No more"})
    assert response.status_code == 302
    assert not BoostPolicy.objects.exists()
    assert AuditEvent.objects.action("boost_policies.delete").get().reason == "No more"
    assert BoostPolicy.history.first().history_change_reason == "No more"


@pytest.mark.parametrize(
    "wrong",
    [
        {"most_tokens": "0"},
        {"most_tokens": "-5"},
        {"most_tokens": str(2**63)},
        {"most_hours": "0"},
        {"most_hours": "9000"},
        {"per_month": "0"},
        {"per_month": "1001"},
        {"tier": "other"},
        {"reason": ""},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(editor: Client, wrong: dict[str, str]) -> None:
    BoostPolicy.objects.create(tier="other", most_tokens=1, most_hours=1)
    response = editor.post(add(), form(**wrong))
    assert response.status_code == 200
    assert BoostPolicy.objects.count() == 1


def test_the_list_shows_the_policies(editor: Client, policy: BoostPolicy) -> None:
    page = text(editor.get(site.lists(BoostPolicy)))
    for word in ("All other tiers", "500,000", "48"):
        assert word in page
