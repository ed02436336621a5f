from datetime import timedelta

import pytest
from celery import current_app
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from django_token_pricing import tokens
from django_token_pricing.models import TokenAllocation
from django_token_pricing.tasks.tokens import expire
from tests.world import new_user

pytestmark = pytest.mark.django_db(transaction=True)


def lapsed() -> TokenAllocation:
    granted = tokens.grant(new_user(), 10, source="plan", expires_at=timezone.now() + timedelta(days=1))
    past = timezone.now() - timedelta(days=1)
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT set_config('token_pricing.maintenance', 'on', true)")
        lots = TokenAllocation.objects.filter(pk=granted.allocation)
        lots.update(expires_at=past, starts_at=past - timedelta(days=1))
    return lots.get()


def test_the_task_books_what_has_lapsed_and_may_run_twice() -> None:
    lot = lapsed()
    assert expire() == {"lots": 1, "tokens": 10, "holds": 0}
    assert expire() == {"lots": 0, "tokens": 0, "holds": 0}
    lot.refresh_from_db()
    assert (lot.remaining, lot.is_open) == (0, False)


def test_tasks_are_found_under_their_public_names() -> None:
    import django_token_pricing.tasks  # noqa: F401

    assert {"django_token_pricing.tokens.expire", "django_token_pricing.payments.sync"} <= set(current_app.tasks)


def test_the_command_takes_a_moment_with_a_zone(capsys: pytest.CaptureFixture[str]) -> None:
    lapsed()
    call_command("token_pricing_expire", as_of=(timezone.now() - timedelta(days=2)).isoformat())
    assert capsys.readouterr().out.startswith("0 lots")
    call_command("token_pricing_expire")
    assert capsys.readouterr().out.startswith("1 lots with 10 tokens")
    with pytest.raises(CommandError, match="zone"):
        call_command("token_pricing_expire", as_of="2026-11-30")
