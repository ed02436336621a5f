"""The reference names everything that is public, and the README says what the checks say."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.dispatch import Signal

from django_token_pricing import checks, conf, exceptions, payments, signals, tokens

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "django_token_pricing"


def page(name: str) -> str:
    return (ROOT / "docs" / "reference" / f"{name}.md").read_text(encoding="utf-8")


def public() -> Iterator[tuple[str, str]]:
    """(page, what has to stand there)"""
    for setting in fields(conf.Settings):
        yield "settings", f"`{setting.name}`"
    for number in re.findall(r"django_token_pricing\.[EW]\d{3}", inspect.getsource(checks)):
        yield "checks", f"`{number}`"
    for name, _signal in inspect.getmembers(signals, lambda member: isinstance(member, Signal)):
        yield "signals", f"`{name}`"
    for name, error in inspect.getmembers(exceptions, inspect.isclass):
        if issubclass(error, exceptions.TokenPricingError):
            yield "api", f"| `{name}`"
            yield "api", f"| `{error.code}` |"
    for name in tokens.__all__:
        if not issubclass(getattr(exceptions, name, object), Exception) and name != "Source":
            yield "api", f":: {name}\n"
    for name in payments.__all__:
        yield "api", f":: {name}\n"
    for command in (PACKAGE / "management" / "commands").glob("token_*.py"):
        yield "commands", f"## {command.stem}\n"
    for model in apps.get_app_config("django_token_pricing").get_models():
        yield "schema", f"`{model._meta.db_table.removeprefix('django_token_pricing_')}`"
        for named in [*model._meta.constraints, *model._meta.indexes]:
            yield "schema", f"`{named.name}`"
        for codename, _label in model._meta.permissions:
            yield "permissions", f"`django_token_pricing.{codename}`"
    for sql in (PACKAGE / "migrations" / "sql").glob("*.sql"):
        text = sql.read_text(encoding="utf-8")
        for name in re.findall(r"CREATE (?:OR REPLACE )?(?:FUNCTION|TRIGGER|INDEX) (\w+)", text):
            yield "schema", f"`{name}`"


@pytest.mark.parametrize(("name", "wanted"), sorted(set(public())), ids=lambda text: text.strip(" |`:#\n"))
def test_the_reference_names_it(name: str, wanted: str) -> None:
    assert wanted in page(name)


def test_the_readme_says_what_the_checks_say(settings: Any) -> None:
    settings.TOKEN_PRICING = {"SUBSCRIPTION_ADAPTER": "billing.token_pricing.Subscriptions"}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_celery_beat"]
    present = [task for task in checks.SCHEDULED if task != "django_token_pricing.tokens.expire"]
    settings.CELERY_BEAT_SCHEDULE = {task: {"task": task, "schedule": 60} for task in present}
    found = [message for message in run_checks() if message.id.startswith("django_token_pricing")]
    assert {message.id[-4:] for message in found} == {"E003", "W001"}
    for message in found:
        assert f"({message.id}) {message.msg}" in readme
        assert f"HINT: {message.hint}" in readme
