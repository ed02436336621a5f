"""The inbox and the preferences of a person, and how they go when the person goes."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from django_token_pricing import notifications, tokens
from django_token_pricing.exceptions import InvalidInput
from django_token_pricing.models import Notification, NotificationPreference, WarningState
from django_token_pricing.notifications import Preference
from tests import world
from tests.notifications import rules

pytestmark = pytest.mark.django_db


def told(user: Any, kind: str = "low", **more: Any) -> Notification:
    facts = {"available": 5, "granted": 100}
    return Notification.objects.create(user=user, kind=kind, facts=facts, created_at=timezone.now(), **more)


def test_the_newest_is_first_and_nobody_sees_anothers(user: Any) -> None:
    first, second = told(user), told(user)
    told(user, is_shown=False)
    told(world.new_user())
    assert list(notifications.inbox(user)) == [second, first]
    assert notifications.unread(user) == 2


def test_reading_one_leaves_the_others_unread(user: Any) -> None:
    first, second = told(user), told(user)
    foreign = told(world.new_user())
    assert notifications.mark_read(user, [first, foreign.pk]) == 1
    assert notifications.mark_read(user, [first]) == 0
    assert list(notifications.inbox(user, unread_only=True)) == [second]
    assert notifications.mark_read(user) == 1
    assert notifications.unread(user) == 0
    foreign.refresh_from_db()
    assert foreign.read_at is None


def test_who_said_nothing_hears_of_everything(user: Any) -> None:
    assert set(notifications.preferences(user).values()) == {Preference(by_mail=True, in_app=True)}


def test_a_preference_changes_what_it_names(user: Any) -> None:
    assert notifications.set_preference(user, "low", by_mail=False) == Preference(by_mail=False, in_app=True)
    assert notifications.set_preference(user, "low", in_app=False) == Preference(by_mail=False, in_app=False)
    assert notifications.set_preference(user, "low") == Preference(by_mail=False, in_app=False)
    assert notifications.preferences(user)["low"] == Preference(by_mail=False, in_app=False)
    assert notifications.preferences(user)["limit"] == Preference(by_mail=True, in_app=True)


def test_an_unknown_kind_is_refused(user: Any) -> None:
    with pytest.raises(InvalidInput, match="low, expiring"):
        notifications.set_preference(user, "weather", by_mail=False)


def test_words_of_a_kind_without_words_are_its_name(user: Any) -> None:
    assert notifications.words(Notification(user=user, kind="other", facts={})).title == "other"


@pytest.mark.parametrize("is_deleted_first", [True, False])
def test_erasing_an_owner_takes_all_of_it(user: Any, is_deleted_first: bool) -> None:
    rules.low(10, tells_admins=True)
    operator = rules.operator()
    tokens.grant(user, 100, source="plan")
    rules.use(user, 95)
    rules.scan()
    notifications.set_preference(user, "low", by_mail=False)
    account = rules.account(user)
    other = told(operator)
    if is_deleted_first:
        user.delete()
        account.refresh_from_db()
    tokens.erase(account)
    assert list(Notification.objects.all()) == [other]
    assert not WarningState.objects.filter(account=account).exists()
    assert not NotificationPreference.objects.exists()
