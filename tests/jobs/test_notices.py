"""Users are told what was done to their tokens: when somebody asked for it, once, by a worker."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import mail

from django_token_pricing import jobs, tokens
from django_token_pricing.adapters import TokensNotice
from django_token_pricing.choices import JobStatus
from django_token_pricing.models import Job, LedgerEntry, TokenAccount
from tests import world
from tests.jobs.test_account_jobs import GRANT, accounts, done, prepared

pytestmark = pytest.mark.django_db


class Refusing:
    def notify(self, notice: TokensNotice) -> bool:
        if notice.available < 100:
            raise OSError("the mail server is away")
        return True


def work() -> None:
    for pk in jobs.sweep():
        jobs.work(pk)


def test_a_grant_to_many_tells_each_user_once() -> None:
    chosen = accounts(10, 20)
    world.with_addresses([of.user for of in chosen])
    tokens.grant(world.new_pool(), 5, source="plan")
    done(prepared("tokens.grant", chosen, **GRANT, notify=True))
    work()
    work()
    assert sorted(message.to for message in mail.outbox) == sorted([of.user.get_username()] for of in chosen)
    message = mail.outbox[0]
    assert message.subject == "You got 70 tokens"
    assert "70 tokens were added to your account." in message.body
    assert "Available now: " in message.body


def test_nobody_is_told_unasked() -> None:
    done(prepared("tokens.grant", accounts(10), **GRANT))
    work()
    assert mail.outbox == []


def test_who_lost_tokens_is_told_how_many() -> None:
    chosen = accounts(1_234)
    world.with_addresses([chosen[0].user])
    done(prepared("tokens.expire", chosen, of_source=None, notify=True))
    work()
    assert mail.outbox[0].subject == "Your tokens have changed"
    assert "1,234 tokens were taken from your account." in mail.outbox[0].body


def test_pools_and_users_without_an_address_are_passed_over() -> None:
    pool = world.new_pool()
    tokens.grant(pool, 5, source="plan")
    chosen = [*accounts(10), TokenAccount.objects.get(pool=pool)]
    type(chosen[0].user).objects.filter(pk=chosen[0].user.pk).update(email="")
    done(prepared("tokens.grant", chosen, **GRANT, notify=True))
    work()
    job = Job.objects.get(kind="notifications.tokens")
    assert (job.status, job.total, job.done, job.skipped) == (JobStatus.DONE, 1, 0, 1)
    assert mail.outbox == []


def test_who_could_not_be_told_is_listed_and_the_rest_goes_on(settings: Any) -> None:
    settings.TOKEN_PRICING = {"NOTIFICATION_ADAPTER": f"{__name__}.Refusing"}
    done(prepared("tokens.grant", accounts(10, 500), **GRANT, notify=True))
    work()
    job = Job.objects.get(kind="notifications.tokens")
    assert (job.status, job.done, job.failed) == (JobStatus.DONE, 1, 1)
    assert job.rows.exclude(code="").get().problems[0]["facts"]["detail"] == "the mail server is away"


def test_the_event_of_a_deed_is_announced_once() -> None:
    user = world.new_user()
    world.with_addresses([user])
    tokens.grant(user, 5, source="manual")
    event = LedgerEntry.objects.get().event
    assert event is not None
    assert jobs.announce(event, actor=None).pk == jobs.announce(event, actor=None).pk
    work()
    assert len(mail.outbox) == 1
