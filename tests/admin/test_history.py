"""The versions of rows that people edit: who may see them, and what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_token_pricing import tokens
from django_token_pricing.admin.base import history
from django_token_pricing.models import PoolMember, TokenPackage, TokenPool
from tests import world
from tests.admin import site

pytestmark = pytest.mark.django_db

Login = Callable[[Any], Client]
MODELS = pytest.mark.parametrize(
    "model", [TokenPool, PoolMember, TokenPackage], ids=lambda model: model._meta.model_name
)


def page(row: Any, pk: Any = None) -> str:
    return reverse(f"admin:django_token_pricing_{row._meta.model_name}_history", args=[pk or row.pk])


def row_of(model: type[Any]) -> Any:
    site.customer()
    return model.objects.latest("pk")


def save(row: Any, actor: Any, reason: str, **fields: Any) -> None:
    for name, value in fields.items():
        setattr(row, name, value)
    history.sign(row, actor=actor, reason=reason)
    row.save()


def lines(response: Any) -> list[tuple[Any, ...]]:
    """(what, which, who, why, changes), the newest first"""
    return [
        (
            version.kind,
            version.name,
            version.who,
            version.why,
            [(change.field, change.before, change.after) for change in version.changes],
        )
        for version in response.context["versions"]
    ]


# Who may


@MODELS
@pytest.mark.parametrize("who", ["owner", "operator", "viewer"])
def test_who_may_view_a_row_sees_its_history_from_its_page(
    model: type[Any], who: str, as_: Login, request: Any
) -> None:
    row = row_of(model)
    client = as_(request.getfixturevalue(who))
    assert f'href="{page(row)}"' in client.get(site.page(row)).content.decode()
    assert client.get(page(row)).status_code == 200


@MODELS
def test_who_may_not_view_the_row_sees_no_history(model: type[Any], staff_without_permission: Any, as_: Login) -> None:
    row = row_of(model)
    name = model._meta.model_name
    for person in (staff_without_permission, site.staff(f"change_{name}", f"delete_{name}", f"view_historical{name}")):
        assert as_(person).get(page(row)).status_code == 403
        assert as_(person).post(page(row)).status_code == 403


@MODELS
def test_strangers_are_sent_to_the_login(model: type[Any], stranger: Any, client: Client, as_: Login) -> None:
    row = row_of(model)
    for asking in (client, as_(stranger)):
        response = asking.get(page(row))
        assert response.status_code == 302
        assert "/login/" in response["Location"]


@MODELS
@pytest.mark.parametrize("key", ["999999", "nonsense", "9" * 30])
def test_a_row_that_never_was_leads_back(model: type[Any], key: str, owners_client: Client) -> None:
    assert owners_client.get(page(model, key)).status_code == 302


def test_members_are_in_the_history_of_a_pool_for_those_who_may_see_members(as_: Login) -> None:
    pool, user = world.new_pool(), world.new_user()
    tokens.add_members(pool, [user], reason="New team", actor=None)
    login = user.get_username()
    assert login not in as_(site.staff("view_tokenpool")).get(page(pool)).content.decode()
    assert login in as_(site.staff("view_tokenpool", "view_poolmember")).get(page(pool)).content.decode()


# What it says


def test_versions_say_who_why_and_from_what_to_what(as_: Login, owner: Any) -> None:
    pool = TokenPool(name="Research")
    save(pool, owner, "New team")
    save(pool, owner, "Renamed", name="<Science>", is_active=False)
    response = as_(owner).get(page(pool))
    login = owner.get_username()
    assert lines(response) == [
        ("Changed", "", login, "Renamed", [("Name", "Research", "<Science>"), ("Active", "Yes", "No")]),
        ("Added", "", login, "New team", [("Name", "", "Research"), ("Active", "", "Yes")]),
    ]
    text = response.content.decode()
    assert "<del>Research</del> <strong>&lt;Science&gt;</strong>" in text


def test_prices_stand_among_the_versions_of_their_package(owners_client: Client, owner: Any) -> None:
    package = TokenPackage(name="Starter", code="starter", tokens=1_000_000)
    save(package, owner, "New")
    price = package.prices.model(package=package, currency="EUR")
    save(price, owner, "New", amount=9)
    save(price, owner, "Cheaper", amount=8)
    history.sign(price, actor=owner, reason="Not in euros")
    price.delete()
    found = lines(owners_client.get(page(package)))
    assert [(kind, name, why) for kind, name, _who, why, _changes in found] == [
        ("Deleted", "Price in EUR", "Not in euros"),
        ("Changed", "Price in EUR", "Cheaper"),
        ("Added", "Price in EUR", "New"),
        ("Added", "", "New"),
    ]
    assert found[1][-1] == [("Price", "9.00", "8.00")]
    assert found[0][-1] == [("Currency", "EUR", ""), ("Price", "8.00", "")]
    assert ("Tokens", "", "1,000,000") in found[3][-1]


def test_a_deleted_row_keeps_its_history(owners_client: Client, owner: Any) -> None:
    package = site.package(name="Old")
    url = page(package)
    history.sign(package, actor=owner, reason="Never sold")
    package.delete()
    response = owners_client.get(url)
    assert "History of Old" in response.content.decode()
    assert ("Deleted", "", "Never sold") in [(kind, name, why) for kind, name, _, why, _ in lines(response)]


def test_rows_older_than_their_history_say_that_nothing_is_known_of_before(owners_client: Client, owner: Any) -> None:
    (pool,) = TokenPool.objects.bulk_create([TokenPool(name="Old")])
    pool = TokenPool.objects.get(name="Old")
    assert "No version yet." in owners_client.get(page(pool)).content.decode()
    save(pool, owner, "Renamed", name="New")
    response = owners_client.get(page(pool))
    assert lines(response) == [("Changed", "", owner.get_username(), "Renamed", [])]
    assert "Nothing is known of before." in response.content.decode()


def test_what_code_did_and_who_is_gone_is_said(owners_client: Client) -> None:
    person = world.new_user()
    pool = TokenPool.objects.create(name="By code")
    save(pool, person, "Renamed", name="By a person")
    person.delete()
    assert {who for _kind, _name, who, _why, _changes in lines(owners_client.get(page(pool)))} == {
        "The system, or a user deleted since"
    }


def test_the_history_of_a_pool_tells_who_came_was_moved_and_left(owners_client: Client, owner: Any) -> None:
    old, new, user = world.new_pool(), world.new_pool(), world.new_user()
    login = user.get_username()
    tokens.add_members(old, [user], monthly_cap=5, reason="Joins", actor=owner)
    tokens.add_members(new, [user], monthly_cap=5, move=True, reason="Moves", actor=owner)
    tokens.set_caps(new, [user], 1_000, reason="More", actor=owner)
    tokens.remove_members(new, [user], reason="Leaves", actor=owner)
    moved = ("Changed", login, "Moves", [("Pool", old.name, new.name)])
    assert members(owners_client.get(page(old)), login) == [
        moved,
        ("Added", login, "Joins", [("Pool", "", old.name), ("Monthly cap", "", "5")]),
    ]
    assert members(owners_client.get(page(new)), login) == [
        ("Deleted", login, "Leaves", [("Pool", new.name, ""), ("Monthly cap", "1,000", "")]),
        ("Changed", login, "More", [("Monthly cap", "5", "1,000")]),
        moved,
    ]


def members(response: Any, login: str) -> list[tuple[Any, ...]]:
    return [(kind, name, why, changes) for kind, name, _who, why, changes in lines(response) if name == login]


def test_the_history_of_a_member_goes_on_when_the_user_comes_back(owners_client: Client, owner: Any) -> None:
    pool, user = world.new_pool(), world.new_user()
    tokens.add_members(pool, [user], reason="Joins", actor=owner)
    tokens.remove_members(pool, [user], reason="Leaves", actor=owner)
    gone = page(PoolMember, PoolMember.history.latest().id)
    tokens.add_members(pool, [user], reason="Comes back", actor=owner)
    member = PoolMember.objects.get(user=user)
    for url in (page(member), gone):
        response = owners_client.get(url)
        assert f"History of {user.get_username()}" in response.content.decode()
        assert [why for _kind, _name, _who, why, _changes in lines(response)] == ["Comes back", "Leaves", "Joins"]


# Many


def test_a_history_takes_as_many_queries_for_30_versions_as_for_few(owners_client: Client, owner: Any) -> None:
    pool = world.new_pool(world.new_user())

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert owners_client.get(page(pool)).status_code == 200
        return len(captured)

    save(pool, owner, "First", name="First")
    queries()
    few = queries()
    for number in range(15):
        save(pool, owner, f"Turn {number}", name=f"Turn {number}")
    tokens.add_members(pool, world.new_users(15), reason="New team", actor=owner)
    assert queries() == few
    assert few <= site.MOST_QUERIES + 4


def test_a_long_history_has_pages(owners_client: Client, owner: Any) -> None:
    pool = TokenPool(name="First")
    for number in range(history.PAGE_SIZE + 2):
        save(pool, owner, f"Turn {number}", name=f"Name {number}")
    first, second = (owners_client.get(page(pool), {"p": number}) for number in ("1", "2"))
    assert [why for _kind, _name, _who, why, _changes in lines(second)] == ["Turn 1", "Turn 0"]
    # The last on a page knows the one before it, which stands on the next.
    assert lines(first)[-1][-1] == [("Name", "Name 1", "Name 2")]
    assert "1–25 of 27" in first.content.decode()
    assert 'rel="next"' in first.content.decode()
    for nonsense in ("0", "x", "99"):
        assert owners_client.get(page(pool), {"p": nonsense}).status_code == 200


# Saving


def test_a_pool_is_saved_with_who_and_why_and_only_when_it_changed(as_: Login) -> None:
    editor = site.staff(*site.VIEW, "add_tokenpool", "change_tokenpool")
    client = as_(editor)
    add = reverse("admin:django_token_pricing_tokenpool_add")
    client.post(add, {"name": "Research", "is_active": "on", "reason": "New team"})
    pool = TokenPool.objects.get(name="Research")
    client.post(site.page(pool), {"name": "Science", "is_active": "on", "reason": "Renamed"})
    client.post(site.page(pool), {"name": "Science", "is_active": "on", "reason": "Renamed"})
    assert list(pool.history.values_list("history_type", "history_user", "history_change_reason", "name")) == [
        ("~", editor.pk, "Renamed", "Science"),
        ("+", editor.pk, "New team", "Research"),
    ]
