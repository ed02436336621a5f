"""A second person decides: what is asked, what approving does, and what stops it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.db import IntegrityError, transaction
from django.utils import timezone as django_timezone

from django_token_pricing import approvals
from django_token_pricing.exceptions import (
    ApprovalChanged,
    ApprovalNeeded,
    IdempotencyConflict,
    InvalidInput,
    SamePerson,
)
from django_token_pricing.models import Approval, ApprovalRule, AuditEvent, TokenPool
from django_token_pricing.tasks.approvals import expire as expire_task
from tests.approvals.conftest import MakePool, person

pytestmark = pytest.mark.django_db

Ask = Callable[..., Approval]


def state(approval: Approval) -> str:
    approval.refresh_from_db()
    return approval.status


# Asking


def test_asking_does_nothing_but_wait(ask: Ask, asker: Any) -> None:
    approval = ask()
    assert (approval.status, approval.asked_by, approval.size) == ("waiting", asker, 2_000)
    assert not TokenPool.objects.exists()
    event = AuditEvent.objects.get()
    assert (event.action, event.actor, event.reason) == ("approvals.ask", asker, "A large customer")


def test_asking_twice_with_one_key_asks_once(ask: Ask) -> None:
    key = uuid4()
    assert ask(key=key) == ask(key=key)
    assert Approval.objects.count() == AuditEvent.objects.count() == 1


def test_a_key_under_which_something_else_was_asked_is_refused(ask: Ask) -> None:
    key = uuid4()
    ask(key=key)
    with pytest.raises(IdempotencyConflict):
        ask("Red", key=key)
    with pytest.raises(IdempotencyConflict):
        ask(key=key, actor=person())
    assert Approval.objects.get().params == {"name": "Blue"}


def test_asking_needs_a_reason(ask: Ask) -> None:
    with pytest.raises(InvalidInput):
        ask(reason="  ")
    assert not Approval.objects.exists()


@pytest.mark.parametrize(("above", "size", "is_needed"), [(None, 10**18, False), (500, 500, False), (500, 501, True)])
def test_a_rule_says_from_which_size_on(above: int | None, size: int, is_needed: bool) -> None:
    ApprovalRule.objects.create(kind=MakePool.kind, above=above)
    assert approvals.is_needed(MakePool.kind, size) is is_needed
    if is_needed:
        with pytest.raises(ApprovalNeeded):
            approvals.require(MakePool.kind, size)
    else:
        approvals.require(MakePool.kind, size)


def test_without_a_rule_the_kinds_own_size_counts() -> None:
    assert not approvals.is_needed(MakePool.kind, 1_000)
    assert approvals.is_needed(MakePool.kind, 1_001)


def test_a_rule_says_how_long_a_request_waits(ask: Ask) -> None:
    ApprovalRule.objects.create(kind=MakePool.kind, above=0, lasts_hours=2)
    approval = ask()
    assert timedelta(minutes=119) < approval.expires_at - django_timezone.now() <= timedelta(hours=2)


# Deciding


def test_approving_does_it_and_says_who_agreed(ask: Ask, second: Any) -> None:
    approval = approvals.approve(ask(), actor=second, note="Fine")
    assert TokenPool.objects.get().name == "Blue"
    assert (state(approval), approval.decided_by, approval.note) == ("approved", second, "Fine")
    assert approval.event is not None
    assert (approval.event.action, approval.event.actor) == ("approvals.approved", second)


def test_who_asked_cannot_approve(ask: Ask, asker: Any) -> None:
    approval = ask()
    with pytest.raises(SamePerson):
        approvals.approve(approval, actor=asker)
    assert state(approval) == "waiting"
    assert not TokenPool.objects.exists()


def test_the_database_refuses_an_approval_by_who_asked(ask: Ask, asker: Any) -> None:
    approval = ask()
    given = {"status": "approved", "decided_at": django_timezone.now(), "decided_by": asker}
    with pytest.raises(IntegrityError), transaction.atomic():
        Approval.objects.filter(pk=approval.pk).update(**given)


def test_what_fails_leaves_the_request_waiting_and_nothing_written(ask: Ask, second: Any) -> None:
    approval = ask("wrong")
    with pytest.raises(InvalidInput, match="No such pool"):
        approvals.approve(approval, actor=second)
    assert state(approval) == "waiting"
    assert not TokenPool.objects.exists()
    assert AuditEvent.objects.count() == 1


def test_nothing_is_done_for_somebody_who_was_deleted(ask: Ask, asker: Any, second: Any) -> None:
    approval = ask()
    asker.delete()
    with pytest.raises(InvalidInput, match="ask anew"):
        approvals.approve(approval, actor=second)
    assert state(approval) == "waiting"
    assert (approval.asked_by, bool(approval.asked_label)) == (None, True)


def test_nothing_is_done_for_somebody_who_lost_the_permission(ask: Ask, asker: Any, second: Any) -> None:
    approval = ask()
    asker.user_permissions.clear()
    with pytest.raises(InvalidInput, match="ask anew"):
        approvals.approve(approval, actor=second)
    assert state(approval) == "waiting"


def test_nothing_is_done_for_somebody_who_was_switched_off(ask: Ask, asker: Any, second: Any) -> None:
    approval = ask()
    asker.is_active = False
    asker.save()
    with pytest.raises(InvalidInput, match="ask anew"):
        approvals.approve(approval, actor=second)


def test_a_kind_that_is_gone_can_be_refused_and_not_approved(ask: Ask, second: Any) -> None:
    approval = ask()
    Approval.objects.filter(pk=approval.pk).update(kind="tests.gone")
    with pytest.raises(InvalidInput, match="refuse it"):
        approvals.approve(approval, actor=second)
    assert approvals.refuse(approval, actor=second, note="Gone").status == "refused"


def test_refusing_needs_a_note(ask: Ask, second: Any) -> None:
    approval = ask()
    with pytest.raises(InvalidInput):
        approvals.refuse(approval, actor=second, note=" ")
    approvals.refuse(approval, actor=second, note="Too large")
    assert (state(approval), approval.note) == ("refused", "Too large")
    assert not TokenPool.objects.exists()


def test_only_who_asked_withdraws(ask: Ask, asker: Any, second: Any) -> None:
    approval = ask()
    with pytest.raises(InvalidInput):
        approvals.withdraw(approval, actor=second)
    approvals.withdraw(approval, actor=asker)
    assert state(approval) == "withdrawn"


@pytest.mark.parametrize("first", ["approve", "refuse", "withdraw", "expire"])
def test_what_is_decided_stays_decided(first: str, ask: Ask, asker: Any, second: Any) -> None:
    approval = ask()
    deeds: dict[str, Callable[[], Any]] = {
        "approve": lambda: approvals.approve(approval, actor=second),
        "refuse": lambda: approvals.refuse(approval, actor=second, note="No"),
        "withdraw": lambda: approvals.withdraw(approval, actor=asker),
        "expire": lambda: approvals.expire(as_of=approval.expires_at),
    }
    deeds[first]()
    pools, before = TokenPool.objects.count(), state(approval)
    for name in ("approve", "refuse", "withdraw"):
        with pytest.raises(ApprovalChanged):
            deeds[name]()
    deeds["expire"]()
    assert (TokenPool.objects.count(), state(approval)) == (pools, before)


def test_what_is_past_its_time_cannot_be_approved_before_it_is_swept(ask: Ask, second: Any) -> None:
    approval = ask()
    Approval.objects.filter(pk=approval.pk).update(expires_at=django_timezone.now())
    with pytest.raises(ApprovalChanged, match="Expired"):
        approvals.approve(approval, actor=second)


def test_the_task_closes_what_is_over_and_nothing_else(ask: Ask) -> None:
    over, waiting = ask("Over"), ask("Waiting")
    moment = datetime(2030, 1, 1, tzinfo=timezone.utc)
    Approval.objects.filter(pk=over.pk).update(expires_at=moment)
    Approval.objects.filter(pk=waiting.pk).update(expires_at=moment + timedelta(seconds=1))
    assert expire_task(as_of=moment.isoformat()) == {"requests": 1}
    assert (state(over), state(waiting)) == ("expired", "waiting")
    assert expire_task(as_of=moment.isoformat()) == {"requests": 0}


# Who is waited for


def test_requests_wait_for_those_who_may_decide_and_did_not_ask(ask: Ask, asker: Any, second: Any) -> None:
    now = django_timezone.now()
    approval = ask()
    for_nobody = person("add_tokenpool"), person("decide_approval")
    assert list(approvals.waiting_for(second, as_of=now)) == [approval]
    assert [list(approvals.waiting_for(user, as_of=now)) for user in for_nobody] == [[], []]
    asker.user_permissions.add(Permission.objects.get(codename="decide_approval"))
    asker = type(asker).objects.get(pk=asker.pk)
    assert approvals.may_decide(approval, asker)
    assert not approvals.waiting_for(asker, as_of=now)
    assert not approvals.waiting_for(second, as_of=approval.expires_at)
