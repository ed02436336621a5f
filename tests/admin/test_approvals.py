"""Requests in the admin: who sees them, who decides, and what the page says will be done."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_token_pricing.models import Approval, ApprovalRule, AuditEvent, LimitRule
from django_token_pricing.tokens.limits import approval as second_person
from django_token_pricing.tokens.limits import rules
from tests import world
from tests.admin import site

pytestmark = pytest.mark.django_db

Login = Callable[[Any], Client]
MAY = ["view_approval", "decide_approval", "change_limitrule", "view_limitrule"]
YES = {"approve-is_seen": "on", "approve-note": "Fine"}


@pytest.fixture
def asker(db: None) -> Any:
    return site.staff("change_limitrule")


@pytest.fixture
def second(db: None) -> Any:
    return site.staff(*MAY)


@pytest.fixture
def asked(asker: Any) -> Approval:
    rule = site.limit(world.new_user())
    wanted = rules.draft(scope="user", user=rule.user, limit=9_000_000)
    return second_person.ask(rule, wanted, actor=asker, reason="A large customer", key=uuid4())


def text(response: Any) -> str:
    return str(response.content.decode())


def state(approval: Approval) -> str:
    approval.refresh_from_db()
    return approval.status


def test_the_page_says_what_will_be_done_why_and_by_whom(asked: Approval, asker: Any, second: Any, as_: Login) -> None:
    page = text(as_(second).get(site.page(asked)))
    for words in ("<del>1,000,000</del>", "<ins>9,000,000</ins>", "A large customer", asker.get_username()):
        assert words in page
    assert site.page(LimitRule.objects.get()) in page
    assert "Nothing has changed yet." in page


def test_a_second_person_approves_and_it_is_done(asked: Approval, second: Any, as_: Login) -> None:
    response = as_(second).post(site.deed(asked, "approve"), YES)
    assert response["Location"] == site.page(asked)
    assert (state(asked), asked.decided_by, asked.note) == ("approved", second, "Fine")
    assert LimitRule.objects.get().limit == 9_000_000
    page = text(as_(second).get(site.page(asked)))
    assert "<del>1,000,000</del>" in page
    assert "approve-is_seen" not in page


def test_approving_needs_the_tick(asked: Approval, second: Any, as_: Login) -> None:
    response = as_(second).post(site.deed(asked, "approve"), {"approve-note": ""})
    assert response.context["approve_form"].errors
    assert state(asked) == "waiting"


def test_refusing_needs_a_note(asked: Approval, second: Any, as_: Login) -> None:
    client = as_(second)
    assert client.post(site.deed(asked, "refuse"), {"refuse-note": ""}).context["refuse_form"].errors
    client.post(site.deed(asked, "refuse"), {"refuse-note": "Too large"})
    assert (state(asked), asked.note) == ("refused", "Too large")
    assert LimitRule.objects.get().limit == 1_000_000


def test_who_asked_sees_that_somebody_else_decides_and_can_withdraw(asked: Approval, asker: Any, as_: Login) -> None:
    client = as_(asker)
    page = text(client.get(site.page(asked)))
    assert "You asked for this: somebody else has to decide." in page
    assert "Approve and do it" not in page
    assert client.post(site.deed(asked, "approve"), YES).status_code == 403
    client.post(site.deed(asked, "withdraw"))
    assert state(asked) == "withdrawn"


def test_who_asked_cannot_approve_as_a_superuser_either(asked: Approval, owner: Any, as_: Login) -> None:
    Approval.objects.filter(pk=asked.pk).update(asked_by=owner)
    response = as_(owner).post(site.deed(asked, "approve"), YES)
    assert "You asked for this" in text(response)
    assert "You asked for this" in text(as_(owner).post(site.deed(asked, "refuse"), {"refuse-note": "No"}))
    assert state(asked) == "waiting"


@pytest.mark.parametrize("missing", ["decide_approval", "change_limitrule"])
def test_deciding_takes_the_right_to_decide_and_to_do_it(missing: str, asked: Approval, as_: Login) -> None:
    client = as_(site.staff(*(name for name in MAY if name != missing)))
    assert "Others decide about this." in text(client.get(site.page(asked)))
    for deed in ("approve", "refuse", "withdraw"):
        assert client.post(site.deed(asked, deed), {**YES, "refuse-note": "No"}).status_code == 403
    assert state(asked) == "waiting"


def test_what_cannot_be_done_any_more_is_said_and_waits(asked: Approval, second: Any, as_: Login) -> None:
    rule = LimitRule.objects.get()
    rules.set_limit(scope="user", user=rule.user, limit=5, reason="Abuse", actor=None, rule=rule)
    page = text(as_(second).post(site.deed(asked, "approve"), YES))
    assert "Nothing has changed." in page
    assert "changed or retired meanwhile" in page
    assert state(asked) == "waiting"


def test_what_is_decided_meanwhile_is_said(asked: Approval, second: Any, as_: Login) -> None:
    Approval.objects.filter(pk=asked.pk).update(status="withdrawn", decided_at=timezone.now())
    response = as_(second).post(site.deed(asked, "approve"), YES, follow=True)
    assert "its state is “Withdrawn” now" in text(response)


def test_what_is_over_cannot_be_decided(asked: Approval, second: Any, as_: Login) -> None:
    Approval.objects.filter(pk=asked.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    page = text(as_(second).get(site.page(asked)))
    assert "Expired" in page
    assert "Approve and do it" not in page


def test_others_do_not_see_a_request_without_the_right_to_view(asked: Approval, as_: Login) -> None:
    assert as_(site.staff("change_limitrule", "decide_approval")).get(site.page(asked)).status_code == 403


def test_the_index_and_the_list_count_what_waits_for_this_person(
    asked: Approval, asker: Any, second: Any, as_: Login
) -> None:
    assert "1 waits for you" in text(as_(second).get(site.index()))
    assert "1 request waits for your decision." in text(as_(second).get(site.lists(Approval)))
    Approval.objects.filter(pk=asked.pk).update(asked_by=second)
    assert "0 wait for you" in text(as_(second).get(site.index()))


def test_a_request_whose_kind_is_gone_is_shown_and_refused(asked: Approval, second: Any, as_: Login) -> None:
    Approval.objects.filter(pk=asked.pk).update(kind="gone.deed")
    client = as_(second)
    assert "gone.deed" in text(client.get(site.page(asked)))
    assert "refuse it" in text(client.post(site.deed(asked, "approve"), YES))
    client.post(site.deed(asked, "refuse"), {"refuse-note": "Gone"})
    assert state(asked) == "refused"


def test_lists_take_no_more_queries_for_more_requests(second: Any, as_: Login) -> None:
    client = as_(second)

    def queries() -> int:
        with CaptureQueriesContext(connection) as found:
            client.get(site.lists(Approval), {"status__exact": "waiting"})
        return len(found)

    site.request(site.limit(world.new_user()), world.new_user())
    one = queries()
    for _number in range(10):
        site.request(site.limit(world.new_user()), world.new_user())
    assert queries() == one


# From which size on


def test_a_rule_is_added_and_changed_with_the_reason(as_: Login) -> None:
    person = site.staff("view_approvalrule", "add_approvalrule", "change_approvalrule")
    client = as_(person)
    add = reverse("admin:django_token_pricing_approvalrule_add")
    given = {"kind": "limits.change", "above": "5,000", "lasts_hours": "24", "reason": "Careful"}
    assert client.post(add, {**given, "reason": ""}).status_code == 200
    assert client.post(add, given).status_code == 302
    rule = ApprovalRule.objects.get()
    assert (rule.kind, rule.above, rule.lasts_hours) == ("limits.change", 5_000, 24)
    assert "limits.change" not in str(client.get(add).context["adminform"].form["kind"])
    client.post(site.page(rule), {**given, "kind": "tokens.boost", "above": "", "reason": "Never mind"})
    rule.refresh_from_db()
    assert (rule.kind, rule.above) == ("limits.change", None)
    event = AuditEvent.objects.latest("pk")
    assert (event.action, event.actor, event.reason) == ("approvals.rules.change", person, "Never mind")
    assert rule.history.count() == 2
