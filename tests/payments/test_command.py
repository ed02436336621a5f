"""`token_pricing_sync` and the task of the same purpose: what they print, log and answer."""

from __future__ import annotations

import logging
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from django_token_pricing.exceptions import AdapterError
from django_token_pricing.models import PaymentMirror, SubscriptionMirror
from django_token_pricing.tasks import payments as tasks
from tests.payments.billing import Billing
from tests.payments.test_sync import paid, told

pytestmark = pytest.mark.django_db


def command(*arguments: str) -> tuple[str, str, CommandError | None]:
    out, err = StringIO(), StringIO()
    try:
        call_command("token_pricing_sync", *arguments, stdout=out, stderr=err)
    except CommandError as error:
        return out.getvalue(), err.getvalue(), error
    return out.getvalue(), err.getvalue(), None


def test_both_mirrors_are_synced_and_counted(host: Billing, till: Billing) -> None:
    host.events, till.events = [told("sub-1"), told("sub-2")], [paid()]
    out, err, error = command()
    assert out.splitlines() == [
        "subscriptions: 2 read, 2 new, 2 changed, 0 gone, 0 refused",
        "payments: 1 read, 1 new, 1 changed, 0 gone, 0 refused",
    ]
    assert (err, error) == ("", None)


def test_one_mirror_is_synced_where_one_is_named(host: Billing, till: Billing) -> None:
    host.events, till.events = [told()], [paid()]
    command("--only", "payments")
    assert (SubscriptionMirror.objects.exists(), PaymentMirror.objects.exists()) == (False, True)


def test_a_full_sync_finds_what_is_gone(host: Billing, till: Billing) -> None:
    host.events = [told()]
    command()
    host.refs = []
    assert "1 gone" in command("--full")[0]


def test_problems_are_printed_and_the_command_fails(host: Billing) -> None:
    host.events = [told("sub-1", status="alive"), told("sub-2")]
    out, err, error = command()
    assert "2 read, 1 new, 1 changed, 0 gone, 1 refused" in out
    assert "sub-1" in err
    assert "'alive'" in err
    assert error is not None
    assert error.returncode == 1


def test_an_adapter_that_raises_fails_the_command_but_not_the_other_mirror(host: Billing, till: Billing) -> None:
    host.events, host.fails_after, till.events = [told()], 0, [paid()]
    error = command()[2]
    assert "tests.payments.billing.Subscriptions" in str(error)
    assert "the billing system is away" in str(error)
    assert PaymentMirror.objects.exists()


def test_the_task_logs_problems_and_fails_where_an_adapter_does(
    host: Billing, till: Billing, caplog: pytest.LogCaptureFixture
) -> None:
    host.fails_after, host.events = 0, [told()]
    till.events = [paid("pay-1", amount=1.5), paid("pay-2")]
    assert tasks.sync.name == "django_token_pricing.payments.sync"
    with caplog.at_level(logging.WARNING), pytest.raises(AdapterError):
        tasks.sync(full=True)
    assert "pay-1" in caplog.text
    assert PaymentMirror.objects.get().external_ref == "pay-2"
