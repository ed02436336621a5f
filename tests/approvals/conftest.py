"""A deed that writes something, and people who may do and decide it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission

from django_token_pricing import approvals
from django_token_pricing.approvals import handlers
from django_token_pricing.exceptions import InvalidInput
from django_token_pricing.models import Approval, TokenPool
from tests import world


class MakePool(approvals.Deed):
    kind = "tests.pool"
    permission = "django_token_pricing.add_tokenpool"
    default_above = 1_000

    def name(self) -> str:
        return "Make a pool"

    def title(self, approval: Approval) -> str:
        return f"Make the pool {approval.params['name']}"

    def facts(self, approval: Approval) -> Iterable[tuple[str, Any, Any]]:
        yield "Pool", "", approval.params["name"]

    def carry_out(self, approval: Approval, actor: Any) -> None:
        TokenPool.objects.create(name=approval.params["name"])
        if approval.params["name"] == "wrong":
            raise InvalidInput(detail="No such pool.")


@pytest.fixture(autouse=True)
def deed() -> Iterator[type[MakePool]]:
    approvals.register(MakePool)
    yield MakePool
    del handlers._deeds[MakePool.kind]


def person(*codenames: str) -> Any:
    user = world.new_user()
    allowed = Permission.objects.filter(content_type__app_label="django_token_pricing", codename__in=codenames)
    user.user_permissions.set(allowed)
    return type(user).objects.get(pk=user.pk)


@pytest.fixture
def asker(db: None) -> Any:
    return person("add_tokenpool")


@pytest.fixture
def second(db: None) -> Any:
    return person("add_tokenpool", "decide_approval")


@pytest.fixture
def ask(asker: Any) -> Callable[..., Approval]:
    def call(name: str = "Blue", **given: Any) -> Approval:
        terms = {"params": {"name": name}, "size": 2_000, "actor": asker, "reason": "A large customer", "key": uuid4()}
        return approvals.ask(MakePool.kind, **{**terms, **given})

    return call
