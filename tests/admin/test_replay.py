"""The page of a limit's trial: what it says, to whom it gives the file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_token_pricing import jobs, tokens
from django_token_pricing.models import Job, TokenAccount
from django_token_pricing.tokens.limits import changes, rules
from tests import world

pytestmark = pytest.mark.django_db


def tried(actor: Any, **terms: Any) -> Job:
    values = changes.terms(rules.draft(scope="default", window="day", **terms))
    job = tokens.ask_replay(values, days=5, actor=actor, key=uuid4())
    jobs.work(job.pk)
    job.refresh_from_db()
    return job


def users_with_uses(number: int) -> list[Any]:
    users = world.new_users(number)
    tokens.grant_many([tokens.GrantRow(user, 100) for user in users], source="plan")
    for user in users:
        for hours in (1, 50):
            tokens.consume(user, 7, key=None, used_at=timezone.now() - timedelta(hours=hours))
    return users


def url(job: Job, name: str = "change") -> str:
    return reverse(f"admin:django_token_pricing_job_{name}", args=[job.pk])


def test_the_page_says_who_would_have_been_refused_and_gives_the_file(owners_client: Client, owner: Any) -> None:
    users = users_with_uses(3)
    job = tried(owner, limit=5)
    page = owners_client.get(url(job)).content.decode()
    assert "Refused uses a day" in page
    assert "Who would have been refused" in page
    for account in TokenAccount.objects.filter(user__in=users):
        assert reverse("admin:django_token_pricing_tokenaccount_change", args=[account.pk]) in page
    response = owners_client.get(url(job, "download"))
    assert response.status_code == 200
    assert b"".join(response.streaming_content).count(b"\n") == 4


def test_where_nobody_would_have_been_refused_the_page_says_that(owners_client: Client, owner: Any) -> None:
    users_with_uses(1)
    page = owners_client.get(url(tried(owner, limit=50))).content.decode()
    assert "Nobody would have been refused." in page


def test_who_may_not_try_limits_out_gets_no_file(as_: Callable[[Any], Client], owner: Any, operator: Any) -> None:
    users_with_uses(1)
    job = tried(owner, limit=5)
    assert as_(operator).get(url(job, "download")).status_code in (403, 404)


@pytest.mark.parametrize("number", [1, 12])
def test_the_page_asks_the_same_however_many_were_refused(
    owners_client: Client, owner: Any, number: int, django_assert_max_num_queries: Any
) -> None:
    users_with_uses(number)
    job = tried(owner, limit=5)
    owners_client.get(url(job))
    with django_assert_max_num_queries(22):
        owners_client.get(url(job))
