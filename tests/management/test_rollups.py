"""The command that folds, checks and makes anew what dashboards read."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from django_token_pricing import tokens
from django_token_pricing.models import UsageDay
from tests.world import new_user

pytestmark = pytest.mark.django_db(transaction=True)


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("token_pricing_rollups", *arguments, stdout=out)
    return out.getvalue()


def test_it_folds_compares_and_makes_anew() -> None:
    tokens.record_many([tokens.Use(new_user(), 5)])
    assert run("fold") == "3 rows of the roll-ups were changed.\n"
    assert run("verify") == "The roll-ups equal the rows.\n"
    UsageDay.objects.update(tokens=6)
    with pytest.raises(CommandError, match=r"^1 row of the roll-ups is not what its rows add up to\.$"):
        run("verify")
    assert run("rebuild") == "3 rows of the roll-ups were made anew.\n"
    assert run("verify") == "The roll-ups equal the rows.\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["verify", "--first", "October"], "“October” is no month; write 2026-10."),
        (["fold", "--first", "2026-10"], "Leave --first and --until out"),
        (["rebuild", "--first", "2026-10", "--until", "2026-09"], "It ends before it begins"),
    ],
)
def test_what_is_no_month_is_refused(arguments: list[str], problem: str) -> None:
    with pytest.raises(CommandError, match=problem):
        run(*arguments)
