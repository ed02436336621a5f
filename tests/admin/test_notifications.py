"""Warnings in the stock form, notifications as a list, and the inbox of who is logged in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_token_pricing import notifications
from django_token_pricing.lib.periods import month_of
from django_token_pricing.models import AuditEvent, Notification, TokenAccount, WarningRule, WarningTally
from tests import world
from tests.admin import site

pytestmark = pytest.mark.django_db

Login = Callable[[Any], Client]
ADD = "admin:django_token_pricing_warningrule_add"


def inbox() -> str:
    return reverse("admin:django_token_pricing_notification_inbox")


def form(**given: str) -> dict[str, str]:
    return {"kind": "low_percent", "percent": "10", "tells_user": "on", "is_active": "on", "reason": "Fair", **given}


def told(user: Any, **fields: Any) -> Notification:
    TokenAccount.objects.get_or_create(user=user)
    return site.warning(user, **fields)


# Rules


def test_a_warning_is_set_with_a_reason(as_: Login) -> None:
    editor = site.staff("view_warningrule", "add_warningrule")
    assert as_(editor).post(reverse(ADD), form(tier="team", tells_admins="on")).status_code == 302
    rule = WarningRule.objects.get()
    assert (rule.kind, rule.percent, rule.tier, rule.tells_user, rule.tells_admins) == (
        "low_percent",
        10,
        "team",
        True,
        True,
    )
    event = AuditEvent.objects.get()
    assert (event.action, event.reason, event.actor) == ("warnings.add", "Fair", editor)


def test_a_change_keeps_the_kind_and_says_from_what_to_what(as_: Login) -> None:
    rule = WarningRule.objects.create(kind="low_percent", percent=10)
    client = as_(site.staff("view_warningrule", "change_warningrule"))
    response = client.post(site.page(rule), form(kind="expired", percent="20", reason="Too late"))
    assert response.status_code == 302, response.content.decode()
    rule.refresh_from_db()
    assert (rule.kind, rule.percent) == ("low_percent", 20)
    assert AuditEvent.objects.get().changes == {"percent": [10, 20]}
    assert rule.history.first().history_change_reason == "Too late"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"percent": "101"}, "percent"),
        ({"percent": "-1"}, "percent"),
        ({"percent": ""}, "percent"),
        ({"tokens": "5"}, "tokens"),
        ({"days": "5"}, "days"),
        ({"kind": "low_tokens"}, "percent"),
        ({"kind": "low_tokens", "percent": "", "tokens": ""}, "tokens"),
        ({"kind": "low_tokens", "percent": "", "tokens": "-1"}, "tokens"),
        ({"kind": "low_tokens", "percent": "", "tokens": str(2**63)}, "tokens"),
        ({"kind": "expiring"}, "percent"),
        ({"kind": "expiring", "percent": "", "days": "0"}, "days"),
        ({"kind": "expiring", "percent": "", "days": "367"}, "days"),
        ({"kind": "expiring", "percent": ""}, "days"),
        ({"kind": "expired"}, "percent"),
        ({"kind": "expired", "percent": "", "days": "1"}, "days"),
        ({"kind": "limit", "percent": "0"}, "percent"),
        ({"kind": "limit", "percent": "101"}, "percent"),
        ({"kind": "weather"}, "kind"),
        ({"tells_user": ""}, "tells_user"),
        ({"tier": "x" * 65}, "tier"),
        ({"reason": ""}, "reason"),
    ],
    ids=str,
)
def test_what_contradicts_itself_is_shown_at_its_field(
    wrong: dict[str, str], field: str, owners_client: Client
) -> None:
    given = form(**wrong)
    given = {name: value for name, value in given.items() if name not in ("tells_user",) or value}
    response = owners_client.post(reverse(ADD), given)
    assert response.status_code == 200
    assert field in response.context["adminform"].form.errors
    assert not WarningRule.objects.exists()


def test_all_kinds_can_be_set(owners_client: Client) -> None:
    for given in (
        {"percent": "0"},
        {"kind": "low_tokens", "percent": "", "tokens": "1,000"},
        {"kind": "expiring", "percent": "", "days": "7", "tokens": "100"},
        {"kind": "expired", "percent": ""},
        {"kind": "limit", "percent": "100"},
    ):
        assert owners_client.post(reverse(ADD), form(**given)).status_code == 302, given
    assert WarningRule.objects.count() == 5


def test_the_same_warning_is_there_once(owners_client: Client) -> None:
    assert owners_client.post(reverse(ADD), form()).status_code == 302
    response = owners_client.post(reverse(ADD), form(tells_admins="on"))
    assert "kind" in response.context["adminform"].form.errors
    assert owners_client.post(reverse(ADD), form(tier="team")).status_code == 302
    assert WarningRule.objects.count() == 2


def test_the_list_says_how_many_fired_this_month(owners_client: Client) -> None:
    rule = WarningRule.objects.create(kind="low_percent", percent=10)
    month = month_of(timezone.now(), timezone.get_default_timezone())
    WarningTally.objects.create(rule=rule, month=month, fired=1_234)
    text = owners_client.get(site.lists(WarningRule)).content.decode()
    assert "At most 10% is left" in text
    assert "1,234" in text


# Notifications


def test_the_list_says_who_was_told_what_and_how_the_mail_stands(owners_client: Client) -> None:
    user = world.new_user()
    told(user, mail="failed", problem="not now")
    text = owners_client.get(site.lists(Notification)).content.decode()
    for words in (user.get_username().replace("@", "@<wbr>"), "You have 5 tokens left", "Failed", "not now"):
        assert words in text


def test_notifications_are_found_by_reader_kind_and_mail(owners_client: Client) -> None:
    one, other = world.new_users(2)
    first, second = told(one), told(other, kind="expired", facts={"tokens": 5, "day": "2031-05-15"}, mail="failed")
    for query, found in (
        (f"q={one.get_username()[:8]}", [first]),
        ("kind__exact=expired", [second]),
        ("mail__exact=failed", [second]),
        ("mail__exact=sent", []),
    ):
        rows = owners_client.get(f"{site.lists(Notification)}?{query}").context["cl"].result_list
        assert list(rows) == found or (query.startswith("q=") and first in rows), query


def test_lists_take_as_many_queries_with_thirty_rows_as_with_one(owners_client: Client) -> None:
    for url in (site.lists(Notification), site.lists(WarningRule), inbox()):
        counts = []
        for number in (1, 29):
            for user in world.new_users(number):
                told(user)
            with CaptureQueriesContext(connection) as queries:
                assert owners_client.get(url).status_code == 200
            counts.append(len(queries))
        assert counts[0] == counts[1]
        assert counts[0] <= site.MOST_QUERIES


def test_failed_mails_are_sent_again_by_those_who_may(as_: Login) -> None:
    user = world.new_user()
    failed, sent = told(user, mail="failed", tries=5), told(user, mail="sent")
    deed = {"action": "send_again", "_selected_action": [failed.pk, sent.pk]}
    url = site.lists(Notification)
    as_(site.staff("view_notification")).post(url, deed)
    failed.refresh_from_db()
    assert failed.mail == "failed"
    person = site.staff("view_notification", "resend_notification")
    text = as_(person).post(url, deed, follow=True).content.decode()
    assert "1 mail is sent again." in text
    failed.refresh_from_db()
    sent.refresh_from_db()
    assert (failed.mail, failed.tries, sent.mail) == ("waiting", 0, "sent")
    event = AuditEvent.objects.get(action="notifications.retry")
    assert (event.actor, event.count) == (person, 1)
    assert "None of these mails has failed" in as_(person).post(url, deed, follow=True).content.decode()


# The inbox


def test_staff_read_their_own_notifications_without_any_permission(as_: Login) -> None:
    person = site.staff()
    mine, foreign = told(person), told(world.new_user(), facts={"available": 77_777, "granted": 99_999})
    client = as_(person)
    text = client.get(inbox()).content.decode()
    assert "You have 5 tokens left" in text
    assert "1 unread" in text
    assert "77,777" not in text
    for data in ({"read": str(foreign.pk)}, {"read": "nonsense"}, {"read": "9" * 30}):
        assert client.post(inbox(), data).status_code == 302
    foreign.refresh_from_db()
    mine.refresh_from_db()
    assert (foreign.read_at, mine.read_at) == (None, None)
    client.post(inbox(), {"read": str(mine.pk)})
    assert notifications.unread(person) == 0


def test_all_can_be_marked_as_read_at_once(as_: Login) -> None:
    person = site.staff()
    for _time in range(30):
        told(person)
    client = as_(person)
    assert "Older ones" in client.get(inbox()).content.decode()
    assert "30 notifications are read." in client.post(inbox(), {"read_all": "1"}, follow=True).content.decode()
    assert "Mark all as read" not in client.get(inbox()).content.decode()


def test_a_person_chooses_what_to_hear_of(as_: Login) -> None:
    person = site.staff()
    client = as_(person)
    given = {"preferences": "Save", "preferences-low_in_app": "on", "preferences-limit_by_mail": "on"}
    assert client.post(inbox(), given).status_code == 302
    said = notifications.preferences(person)
    assert (said["low"].in_app, said["low"].by_mail, said["limit"].in_app, said["limit"].by_mail) == (
        True,
        False,
        False,
        True,
    )
    assert client.get(inbox()).context["form"]["low_by_mail"].initial is False


def test_strangers_have_no_inbox_here(stranger: Any, client: Client, as_: Login) -> None:
    for asking in (client, as_(stranger)):
        assert "/login/" in asking.get(inbox())["Location"]


def test_the_index_says_how_many_are_unread(as_: Login) -> None:
    person = site.staff("view_notification", "view_warningrule")
    for _time in range(3):
        told(person)
    text = as_(person).get(site.index()).content.decode()
    assert "3 unread" in text
    assert "3 active" in text


def test_words_of_a_closed_account_can_still_be_read(owners_client: Client, owner: Any) -> None:
    user = world.new_user()
    account = TokenAccount.objects.create(user=user)
    rule = WarningRule.objects.create(kind="low_percent", percent=10, tells_admins=True)
    facts = {"available": 5, "granted": 100, "count": 1, "percent": 10, "tokens_left": None, "days": None, "tier": ""}
    Notification.objects.create(
        user=owner, account=account, rule=rule, kind="low", facts=facts, created_at=timezone.now()
    )
    user.delete()
    for url in (inbox(), site.lists(Notification)):
        assert f"Account {account.pk} has little left" in owners_client.get(url).content.decode()
