"""Several people decide at once, on real connections: one decision stands, and the deed is done once or not at all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from django_token_pricing import approvals
from django_token_pricing.exceptions import ApprovalChanged
from django_token_pricing.models import Approval, AuditEvent, TokenPool
from tests.approvals.conftest import person

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.concurrency]

Ask = Callable[..., Approval]


def deciders(number: int) -> list[Any]:
    return [person("add_tokenpool", "decide_approval") for _ in range(number)]


def refused(answers: list[Any]) -> int:
    assert all(isinstance(answer, (Approval, ApprovalChanged)) for answer in answers), answers
    return sum(isinstance(answer, ApprovalChanged) for answer in answers)


def test_of_eight_who_approve_at_once_one_does(ask: Ask, in_parallel: Any) -> None:
    approval = ask()
    answers = in_parallel([lambda who=who: approvals.approve(approval, actor=who) for who in deciders(8)])
    assert refused(answers) == 7
    assert TokenPool.objects.count() == 1
    assert AuditEvent.objects.filter(action="approvals.approved").count() == 1


def test_approving_against_withdrawing_and_refusing_ends_in_one_state(ask: Ask, asker: Any, in_parallel: Any) -> None:
    first, second = deciders(2)
    for number in range(4):
        approval = ask(f"Pool {number}")
        answers = in_parallel(
            [
                partial(approvals.approve, approval, actor=first),
                partial(approvals.withdraw, approval, actor=asker),
                partial(approvals.refuse, approval, actor=second, note="No"),
            ]
        )
        assert refused(answers) == 2
        approval.refresh_from_db()
        assert TokenPool.objects.filter(name=f"Pool {number}").exists() is (approval.status == "approved")


def test_asking_at_once_with_one_key_asks_once(ask: Ask, in_parallel: Any) -> None:
    key = uuid4()
    answers = in_parallel([lambda: ask(key=key) for _ in range(8)])
    assert {answer.pk for answer in answers} == {Approval.objects.get().pk}
