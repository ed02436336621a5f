"""What people do to accounts, lots, holds and uses: each deed once, with its reason, by those who may."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_token_pricing import jobs, tokens
from django_token_pricing.models import (
    AuditEvent,
    LedgerEntry,
    PoolMember,
    TokenAccount,
    TokenAllocation,
    TokenHold,
    TokenPool,
    TokenUsageLog,
)
from tests import world
from tests.admin import site

pytestmark = pytest.mark.django_db

DEEDS = pytest.mark.parametrize(("model", "name", "permission"), site.DEEDS, ids=[name for _, name, _ in site.DEEDS])
Login = Callable[[Any], Client]


def row_of(model: type[Any]) -> Any:
    site.customer()
    return model.objects.filter(**{} if model is not TokenAccount else {"pool": None}).order_by("-pk").first()


def given(**more: Any) -> dict[str, Any]:
    """What every form of these can be sent with; a field that it lacks does no harm."""
    member = PoolMember.objects.first()
    return {
        "key": str(uuid4()),
        "reason": "Asked for by the customer",
        "amount": "70",
        "source": "manual",
        "priority": "100",
        "members": member.user.get_username() if member else "",
        "monthly_cap": "700",
        "hours": "24",
        "until": "2199-01-01T00:00",
        **more,
    }


def moved() -> tuple[Any, ...]:
    return (
        LedgerEntry.objects.count(),
        AuditEvent.objects.count(),
        TokenHold.objects.filter(status="open").count(),
        list(PoolMember.objects.order_by("pk").values_list("user", "pool", "monthly_cap")),
    )


# Who may


@DEEDS
def test_a_deed_needs_its_own_permission_to_look_and_to_do(
    model: type[Any], name: str, permission: str, as_: Login, viewer: Any, staff_without_permission: Any
) -> None:
    row = row_of(model)
    url, before = site.deed(row, name), moved()
    others = [other for other in site.MAY_DO if other != permission]
    for person in (viewer, staff_without_permission, site.staff(permission), site.staff(*site.VIEW, *others)):
        client = as_(person)
        assert client.get(url).status_code == 403
        assert client.post(url, given()).status_code == 403
        assert f'href="{url}"' not in client.get(site.page(row)).content.decode()
    assert moved() == before
    client = as_(site.staff(*site.VIEW, permission))
    assert f'href="{url}"' in client.get(site.page(row)).content.decode()
    assert client.get(url).status_code == 200
    response = client.post(url, given())
    assert response.status_code == 302, response.content.decode()
    assert moved() != before


@DEEDS
def test_strangers_are_sent_to_the_login(
    model: type[Any], name: str, permission: str, client: Client, as_: Login, stranger: Any
) -> None:
    row = row_of(model)
    for asking in (client, as_(stranger)):
        for response in (asking.get(site.deed(row, name)), asking.post(site.deed(row, name), given())):
            assert response.status_code == 302
            assert "/login/" in response["Location"]


# Every deed


@DEEDS
def test_who_and_why_are_in_the_audit_trail(
    model: type[Any], name: str, permission: str, as_: Login, operator: Any
) -> None:
    row = row_of(model)
    as_(operator).post(site.deed(row, name), given())
    event = AuditEvent.objects.latest("pk")
    assert (event.actor, event.reason) == (operator, "Asked for by the customer")


@DEEDS
def test_a_form_sent_twice_does_its_deed_once(
    model: type[Any], name: str, permission: str, as_: Login, operator: Any
) -> None:
    row = row_of(model)
    client, data = as_(operator), given()
    assert client.post(site.deed(row, name), data).status_code == 302
    after = moved()
    # Where the row is gone with the deed, that leads back too.
    assert client.post(site.deed(row, name), data).status_code == 302
    assert moved() == after


@DEEDS
@pytest.mark.parametrize("wrong", [{"reason": "  "}, {"reason": "x" * 501}, {"key": "no key"}, {"key": ""}])
def test_without_a_reason_or_a_key_nothing_is_done(
    model: type[Any], name: str, permission: str, wrong: dict[str, Any], as_: Login, operator: Any
) -> None:
    row = row_of(model)
    before = moved()
    response = as_(operator).post(site.deed(row, name), given(**wrong))
    assert response.status_code == 200
    assert moved() == before


@DEEDS
def test_a_row_that_is_not_there_leads_back(
    model: type[Any], name: str, permission: str, as_: Login, operator: Any
) -> None:
    row = row_of(model)
    url = site.deed(row, name).replace(str(row.pk), "999999")
    assert as_(operator).get(url).status_code == 302
    assert as_(operator).post(url, given()).status_code == 302


# Accounts


def test_tokens_are_granted_on_the_terms_given(as_: Login, operator: Any) -> None:
    account = row_of(TokenAccount)
    today = timezone.localdate()
    terms = {
        "amount": "1,000",
        "source": "purchase",
        "priority": "7",
        "starts_on": str(today + timedelta(days=1)),
        "expires_on": str(today + timedelta(days=9)),
        "paid_amount": "9.90",
        "paid_currency": "EUR",
    }
    response = as_(operator).post(site.deed(account, "grant"), given(**terms), follow=True)
    assert response.redirect_chain == [(site.page(account), 302)]
    assert "1,000 tokens were granted. Available now: 9,850." in response.content.decode()
    lot = account.allocations.latest("pk")
    zone = timezone.get_default_timezone()
    assert (lot.amount, lot.source, lot.priority) == (1000, "purchase", 7)
    assert (str(lot.paid_amount), lot.paid_currency) == ("9.9000", "EUR")
    assert lot.starts_at == datetime.combine(today + timedelta(days=1), datetime.min.time(), tzinfo=zone)
    assert lot.expires_at == datetime.combine(today + timedelta(days=10), datetime.min.time(), tzinfo=zone)


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": "0"},
        {"amount": "-5"},
        {"amount": "1.5"},
        {"amount": "many"},
        {"amount": str(2**63)},
        {"source": "rollover"},
        {"source": "nonsense"},
        {"priority": "40000"},
        {"expires_on": "2020-01-01"},
        {"expires_on": "31.12.2030x"},
        {"starts_on": "2033-01-02", "expires_on": "2033-01-01"},
        {"expires_on": "9999-12-31"},
        {"paid_amount": "5"},
        {"paid_currency": "EUR"},
        {"paid_amount": "5", "paid_currency": "euro"},
        {"paid_amount": "-1", "paid_currency": "EUR"},
    ],
    ids=str,
)
def test_terms_that_make_no_sense_are_shown_as_such(wrong: dict[str, str], as_: Login, operator: Any) -> None:
    account = row_of(TokenAccount)
    before = moved()
    response = as_(operator).post(site.deed(account, "grant"), given(**wrong))
    assert response.status_code == 200
    assert response.context["form"].errors
    assert moved() == before


def test_a_refusal_of_the_ledger_is_shown_and_the_form_kept(as_: Login, operator: Any) -> None:
    account = row_of(TokenAccount)
    before = moved()
    response = as_(operator).post(site.deed(account, "subtract"), given(amount="9851"))
    text = response.content.decode()
    assert "Nothing has changed." in text
    assert 'value="9851"' in text
    assert "Asked for by the customer" in text
    assert moved() == before


def test_what_is_available_is_subtracted_and_set(as_: Login, operator: Any) -> None:
    account = row_of(TokenAccount)
    client = as_(operator)
    client.post(site.deed(account, "subtract"), given(amount="850"))
    assert tokens.balance(account).available == 9_000
    assert 'value="9,000"' in client.get(site.deed(account, "set-balance")).content.decode()
    client.post(site.deed(account, "set-balance"), given(amount="9,500"))
    assert tokens.balance(account).available == 9_500
    client.post(site.deed(account, "set-balance"), given(amount="20"))
    balance = tokens.balance(account)
    assert (balance.available, balance.held) == (20, 50)


def test_a_pool_is_granted_to_as_a_user_is(as_: Login, operator: Any) -> None:
    pool = world.new_pool()
    tokens.grant(pool, 1, source="manual")
    as_(operator).post(site.deed(pool.account, "grant"), given())
    assert tokens.balance(pool).available == 71


def test_nothing_is_done_to_a_closed_account(as_: Login, operator: Any) -> None:
    customer = site.customer()
    customer.user.delete()
    before = moved()
    for name in ("grant", "subtract", "set-balance"):
        url = site.deed(customer.account, name)
        client = as_(operator)
        assert f'href="{url}"' not in client.get(site.page(customer.account)).content.decode()
        assert client.get(url).status_code == 302
        assert client.post(url, given()).status_code == 200
    assert moved() == before


# Lots, holds, uses


def test_a_lot_is_voided_but_for_what_is_held(as_: Login, operator: Any) -> None:
    lot = row_of(TokenAllocation)
    response = as_(operator).post(site.deed(lot, "void"), given(), follow=True)
    assert "9,850 tokens were taken out. Available now: 0." in response.content.decode()
    balance = tokens.balance(lot.account)
    assert (balance.available, balance.held) == (0, 50)
    response = as_(operator).post(site.deed(lot, "void"), given())
    assert "Nothing has changed." in response.content.decode()


def test_the_rest_of_a_lot_gets_other_dates(as_: Login, operator: Any) -> None:
    lot = row_of(TokenAllocation)
    client = as_(operator)
    zone = timezone.get_default_timezone()
    last_day = timezone.localdate(lot.expires_at - timedelta(microseconds=1), zone)
    assert f'value="{last_day}"' in client.get(site.deed(lot, "change-dates")).content.decode()
    ends = timezone.localdate() + timedelta(days=90)
    response = client.post(site.deed(lot, "change-dates"), given(expires_on=str(ends)))
    new = TokenAllocation.objects.latest("pk")
    assert response["Location"] == site.page(new)
    assert (new.parent, new.amount) == (lot, 9_850)
    assert new.expires_at == datetime.combine(ends + timedelta(days=1), datetime.min.time(), tzinfo=zone)


def test_a_hold_is_released_and_no_more_offered(as_: Login, operator: Any) -> None:
    hold = row_of(TokenHold)
    client = as_(operator)
    url = site.deed(hold, "release")
    client.post(url, given())
    assert tokens.balance(hold.account).held == 0
    assert f'href="{url}"' not in client.get(site.page(hold)).content.decode()
    assert client.get(url, follow=True).redirect_chain == [(site.page(hold), 302)]


def test_a_use_is_refunded_in_part_and_in_whole(as_: Login, operator: Any) -> None:
    use = row_of(TokenUsageLog)
    client, url = as_(operator), site.deed(use, "refund")
    client.post(url, given(amount="30"))
    assert tokens.balance(use.account).available == 9_880
    assert "Refunded so far" in client.get(url).content.decode()
    client.post(url, given(amount=""))
    assert tokens.balance(use.account).available == 9_950
    assert "Nothing has changed." in client.post(url, given(amount="1")).content.decode()


# Pools and members


def test_members_are_added_by_their_logins_however_these_are_separated(as_: Login, operator: Any) -> None:
    pool = world.new_pool()
    first, second, third = (user.get_username() for user in world.new_users(3))
    client, url = as_(operator), site.deed(pool, "add-members")
    response = client.post(url, given(members=f"{first.upper()};{second}\r\n\n {third},{first}", monthly_cap="1,500"))
    assert response["Location"] == f"{site.lists(PoolMember)}?pool={pool.pk}"
    assert list(pool.members.values_list("monthly_cap", flat=True)) == [1500] * 3
    shown = client.get(response["Location"]).content.decode()
    assert "3 members were added or changed." in shown
    assert "1,500" in shown
    event = AuditEvent.objects.action("pools.add_members").get()
    assert (event.count, event.target_label) == (3, pool.name)


def test_who_may_not_see_the_members_comes_back_to_the_pool(as_: Login) -> None:
    pool, user = world.new_pool(), world.new_user()
    client = as_(site.staff("view_tokenpool", "manage_members"))
    response = client.post(site.deed(pool, "add-members"), given(members=user.get_username()))
    assert response["Location"] == site.page(pool)


def test_who_is_in_another_pool_is_moved_only_when_asked_for(as_: Login, operator: Any) -> None:
    user = world.new_user()
    old, new = world.new_pool(user), world.new_pool()
    client, url = as_(operator), site.deed(new, "add-members")
    text = client.post(url, given(members=user.get_username())).content.decode()
    assert f"is a member of “{old.name}”" in text
    assert PoolMember.objects.get(user=user).pool == old
    client.post(url, given(members=user.get_username(), move="on", monthly_cap=""))
    member = PoolMember.objects.get(user=user)
    assert (member.pool, member.monthly_cap) == (new, None)


@pytest.mark.parametrize(
    "members", ["", " ;,\n", "nobody@example.com", "x" * 1_000_001], ids=["none", "blank", "who", "long"]
)
def test_members_that_cannot_be_found_are_named(members: str, as_: Login, operator: Any) -> None:
    pool = world.new_pool(world.new_user())
    before = moved()
    for name in ("add-members", "remove-members", "set-caps"):
        response = as_(operator).post(site.deed(pool, name), given(members=members))
        assert response.status_code == 200
        assert response.context["form"].errors["members"]
    assert moved() == before


def test_members_are_removed_and_caps_set_by_list_and_one_by_one(as_: Login, operator: Any) -> None:
    users = world.new_users(4)
    pool = world.new_pool(*users)
    names = [user.get_username() for user in users]
    client = as_(operator)
    client.post(site.deed(pool, "set-caps"), given(members="\n".join(names[:2]), monthly_cap="50"))
    one = PoolMember.objects.get(user=users[3])
    client.post(site.deed(one, "change-cap"), given(monthly_cap="0"))
    assert list(pool.members.order_by("pk").values_list("monthly_cap", flat=True)) == [50, 50, None, 0]
    client.post(site.deed(pool, "remove-members"), given(members=names[0]))
    client.post(site.deed(one, "remove"), given())
    assert set(pool.members.values_list("user", flat=True)) == {users[1].pk, users[2].pk}


def test_a_pool_is_made_renamed_and_switched_off_with_a_reason(as_: Login) -> None:
    client = as_(site.staff(*site.VIEW, "add_tokenpool", "change_tokenpool"))
    add = reverse("admin:django_token_pricing_tokenpool_add")
    assert client.post(add, {"name": "Research", "is_active": "on", "reason": ""}).status_code == 200
    assert not TokenPool.objects.filter(name="Research").exists()
    assert client.post(add, {"name": "Research", "is_active": "on", "reason": "New team"}).status_code == 302
    pool = TokenPool.objects.get(name="Research")
    assert client.post(site.page(pool), {"name": "Science", "reason": "Renamed"}).status_code == 302
    pool.refresh_from_db()
    assert (pool.name, pool.is_active) == ("Science", False)
    made, changed = AuditEvent.objects.action("pools").order_by("pk")
    assert (made.action, made.reason) == ("pools.add", "New team")
    assert changed.changes == {"name": ["Research", "Science"], "is_active": [True, False]}


def test_a_pool_is_only_shown_to_who_may_not_change_it(as_: Login, viewer: Any) -> None:
    pool = world.new_pool()
    text = as_(viewer).get(site.page(pool)).content.decode()
    assert "<form" not in text.split('id="content"')[1].split("tp-row-page")[0] or 'name="name"' not in text
    assert as_(viewer).post(site.page(pool), {"name": "x", "reason": "r"}).status_code == 403


@pytest.mark.parametrize("name", ["grant", "subtract", "set-balance"])
def test_the_customer_is_told_when_asked_for_and_once(name: str, as_: Login, operator: Any) -> None:
    account = site.customer().account
    world.with_addresses([account.user])
    client, data = as_(operator), given(notify="on")
    for _time in range(2):
        assert client.post(site.deed(account, name), data).status_code == 302
    client.post(site.deed(account, name), given(amount="60"))
    for job in jobs.sweep():
        jobs.work(job)
    assert [message.to for message in mail.outbox] == [[account.user.get_username()]]
