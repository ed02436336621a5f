"""What `manage.py check` says of a host's settings."""

from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.core.checks import run_checks

from django_token_pricing import conf


class HalfAnAdapter:
    def events(self) -> None: ...


def found(**kwargs: Any) -> dict[str, str]:
    messages = [message for message in run_checks(**kwargs) if message.id.startswith("django_token_pricing")]
    assert all(message.hint for message in messages)
    return {message.id.rpartition(".")[2]: f"{message.msg} {message.hint}" for message in messages}


def test_a_sound_host_hears_nothing() -> None:
    assert found() == {}


def test_a_zone_and_rates_that_can_be_used_are_sound(settings: Any) -> None:
    settings.TOKEN_PRICING = {"REPORTING_ZONE": "Asia/Kolkata", "EXCHANGE_RATES": {"EUR": "1.08"}}
    assert found() == {}


def test_an_unknown_key_is_named_with_the_nearest_known_one(settings: Any) -> None:
    settings.TOKEN_PRICING = {"HOLD_TIMOUT": timedelta(minutes=1)}
    assert "HOLD_TIMEOUT" in found()["E001"]


@pytest.mark.parametrize(
    "given",
    [
        {"HOLD_TIMEOUT": 900},
        {"HOLD_TIMEOUT": timedelta(0)},
        {"LEDGER_PATH": "fast"},
        {"REPORTING_ZONE": "Europe/Atlantis"},
        {"EXCHANGE_RATES": {"EUR": "0"}},
        {"EXCHANGE_RATES": ["EUR"]},
        "auto",
    ],
)
def test_a_value_of_the_wrong_kind_is_an_error(settings: Any, given: Any) -> None:
    settings.TOKEN_PRICING = given
    assert "E002" in found()


@pytest.mark.parametrize("path", ["tests.nowhere.Adapter", "tests.test_checks.HalfAnAdapter"])
def test_an_adapter_that_cannot_serve_is_an_error(settings: Any, path: str) -> None:
    settings.TOKEN_PRICING = {"SUBSCRIPTION_ADAPTER": path}
    assert path.rpartition(".")[2] in found()["E003"] or "imported" in found()["E003"]


def test_a_cache_that_is_not_there_is_an_error(settings: Any) -> None:
    settings.TOKEN_PRICING = {"THROTTLE_CACHE": "fast"}
    assert "fast" in found()["E002"]


@pytest.mark.parametrize(
    ("backend", "is_shared"),
    [
        ("locmem.LocMemCache", False),
        ("dummy.DummyCache", False),
        ("redis.RedisCache", True),
        ("db.DatabaseCache", True),
    ],
)
def test_a_cache_of_each_process_is_warned_of_before_a_deployment(settings: Any, backend: str, is_shared: bool) -> None:
    settings.CACHES = {"default": {"BACKEND": f"django.core.cache.backends.{backend}", "LOCATION": "redis://localhost"}}
    assert ("W003" in found(include_deployment_checks=True)) is not is_shared
    assert "W003" not in found()


def test_atomic_requests_are_warned_of(settings: Any) -> None:
    settings.DATABASES["default"]["ATOMIC_REQUESTS"] = True
    try:
        assert "locked" in found()["W006"]
    finally:
        settings.DATABASES["default"]["ATOMIC_REQUESTS"] = False


def test_naive_times_are_an_error(settings: Any) -> None:
    settings.USE_TZ = False
    assert "USE_TZ" in found()["E008"]


@pytest.mark.skipif(not apps.is_installed("django.contrib.admin"), reason="the minimal host has no admin")
def test_an_admin_without_import_and_export_is_an_error(settings: Any) -> None:
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "import_export"]
    assert "INSTALLED_APPS" in found()["E009"]


def test_missing_schedules_are_warned_of(settings: Any) -> None:
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_celery_beat"]
    settings.CELERY_BEAT_SCHEDULE = {}
    assert "django_token_pricing.tokens.expire" in found()["W001"]


def test_users_on_another_database_are_an_error(settings: Any) -> None:
    settings.DATABASE_ROUTERS = ["tests.test_checks.Apart"]
    assert "other" in found()["E006"]


class Apart:
    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "other" if model._meta.app_label == "django_token_pricing" else None


def test_settings_are_read_anew(settings: Any) -> None:
    assert timedelta(minutes=15) == conf.current().HOLD_TIMEOUT
    settings.TOKEN_PRICING = {"HOLD_TIMEOUT": timedelta(minutes=1)}
    assert timedelta(minutes=1) == conf.current().HOLD_TIMEOUT
