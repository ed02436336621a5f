"""System checks: E… stops, W… warns; each says what to do. The reference lists them by id."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from datetime import timedelta, timezone
from typing import Any, get_origin, get_type_hints

from django.apps import AppConfig, apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import OperationalError, connections, router
from django.utils.module_loading import import_string

from django_token_pricing import conf, schedules
from django_token_pricing.analytics.currencies import rate_of
from django_token_pricing.lib.periods import zone_of
from django_token_pricing.models import TokenAccount
from django_token_pricing.tasks import beat

ADAPTERS = {
    "SUBSCRIPTION_ADAPTER": ["events", "current_refs"],
    "PAYMENT_ADAPTER": ["events", "current_refs"],
    "NOTIFICATION_ADAPTER": ["notify"],
}
# What a name that is no zone's is told by.
_NO_ZONE = timezone(timedelta(0), "none")
SCHEDULED = [schedule.task for schedule in schedules.SCHEDULES]


@register
def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    given = getattr(settings, "TOKEN_PRICING", {})
    if not isinstance(given, dict):
        return [
            Error("TOKEN_PRICING is not a dict.", hint="Write TOKEN_PRICING = {…}.", id="django_token_pricing.E002")
        ]
    return [*_keys(given), *_adapters(given)]


def _keys(given: dict[str, Any]) -> Iterator[CheckMessage]:
    types = get_type_hints(conf.Settings)
    for name, value in given.items():
        if name not in types:
            near = difflib.get_close_matches(str(name), types, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Known keys: {', '.join(sorted(types))}."
            yield Error(f"TOKEN_PRICING has no key {name!r}.", hint=hint, id="django_token_pricing.E001")
        elif not isinstance(value, kind := get_origin(types[name]) or types[name]):
            hint = f"It must be a {kind.__name__}, and is a {type(value).__name__}."
            yield Error(f"TOKEN_PRICING[{name!r}] has the wrong type.", hint=hint, id="django_token_pricing.E002")
        elif name == "HOLD_TIMEOUT" and value <= timedelta(0):
            hint = "A hold must last some time: write timedelta(minutes=15), say."
            yield Error("TOKEN_PRICING['HOLD_TIMEOUT'] is not above 0.", hint=hint, id="django_token_pricing.E002")
        elif name == "JOB_RETENTION" and value < timedelta(0):
            hint = "Bulk work is kept for some time after it is over: write timedelta(days=30), say."
            yield Error("TOKEN_PRICING['JOB_RETENTION'] is below 0.", hint=hint, id="django_token_pricing.E002")
        elif name == "JOB_PARALLEL" and value < 1:
            hint = "At least one piece of bulk work must be done at a time: write 4, say."
            yield Error("TOKEN_PRICING['JOB_PARALLEL'] is below 1.", hint=hint, id="django_token_pricing.E002")
        elif name == "LOW_BALANCE_PERCENT" and not 0 <= value <= 100:
            hint = "It is a share in per cent: from 0 to 100."
            yield Error(f"TOKEN_PRICING[{name!r}] is {value!r}.", hint=hint, id="django_token_pricing.E002")
        elif name == "THROTTLE_CACHE" and value not in settings.CACHES:
            hint = f"It must be the name of a cache in CACHES: {', '.join(sorted(settings.CACHES))}."
            yield Error(f"There is no cache {value!r} to throttle with.", hint=hint, id="django_token_pricing.E002")
        elif name == "LEDGER_PATH" and value not in ("auto", "portable"):
            hint = "It must be “auto” or “portable”."
            yield Error(f"TOKEN_PRICING[{name!r}] is {value!r}.", hint=hint, id="django_token_pricing.E002")
        elif name == "REPORTING_ZONE" and value and zone_of(value, _NO_ZONE) is _NO_ZONE:
            hint = "Write a name of the IANA database, such as “Europe/Berlin”, or nothing for TIME_ZONE."
            yield Error(f"There is no zone {value!r} to report in.", hint=hint, id="django_token_pricing.E002")
        elif name == "EXCHANGE_RATES" and (wrong := [one for one, rate in value.items() if rate_of(rate) is None]):
            hint = "Write what one unit is worth in DEFAULT_CURRENCY as text: {“EUR”: “1.08”}."
            told = ", ".join(map(repr, wrong))
            yield Error(f"EXCHANGE_RATES has no rate above 0 for {told}.", hint=hint, id="django_token_pricing.E002")


def _adapters(given: dict[str, Any]) -> Iterator[CheckMessage]:
    for name, methods in ADAPTERS.items():
        path = given.get(name)
        if not isinstance(path, str):
            continue
        try:
            adapter = import_string(path)
        except ImportError as error:
            hint = f"Give the dotted path of a class: {error}."
            yield Error(f"TOKEN_PRICING[{name!r}] cannot be imported.", hint=hint, id="django_token_pricing.E003")
            continue
        if missing := [method for method in methods if not callable(getattr(adapter, method, None))]:
            hint = "django_token_pricing.adapters has the protocol with all of them."
            yield Error(f"{path} lacks {', '.join(missing)}().", hint=hint, id="django_token_pricing.E003")


@register
def check_time_zones(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.USE_TZ:
        return []
    hint = "Set USE_TZ = True: lots end and months turn at exact moments, which naive times cannot name."
    return [Error("USE_TZ is off.", hint=hint, id="django_token_pricing.E008")]


@register
def check_apps(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if not apps.is_installed("django.contrib.admin") or apps.is_installed("import_export"):
        return []
    return [
        Error(
            "The admin is installed, and import_export is not.",
            hint="Add “import_export” to INSTALLED_APPS: pages on which files come in and go out are made of it.",
            id="django_token_pricing.E009",
        )
    ]


@register(Tags.database)
def check_isolation(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Asked with `manage.py check --database …` and before `migrate`: it looks at the configured connection."""
    alias = router.db_for_write(TokenAccount)
    if alias not in (databases or ()):
        return []
    connection = connections[alias]
    found = str(connections.settings[alias].get("OPTIONS", {}).get("isolation_level", ""))
    if connection.vendor == "postgresql" and found and found not in ("1", "IsolationLevel.READ_COMMITTED"):
        return [_isolation(alias, found)]
    if connection.vendor == "mysql" and found and found.lower() != "read committed":
        return [_isolation(alias, found)]
    return []


def _isolation(alias: str, found: str) -> CheckMessage:
    return Error(
        f"The database {alias!r} runs its transactions at {found}, not READ COMMITTED.",
        hint="Tokens are refused to move there; take isolation_level out of its OPTIONS.",
        id="django_token_pricing.E007",
    )


@register
def check_databases(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    ours, theirs = router.db_for_write(TokenAccount), router.db_for_write(get_user_model())
    if ours != theirs:
        found.append(
            Error(
                f"The ledger is written to {ours!r} and users to {theirs!r}.",
                hint="Foreign keys join them: route django_token_pricing to the database of the user model.",
                id="django_token_pricing.E006",
            )
        )
    if settings.DATABASES.get(ours, {}).get("ATOMIC_REQUESTS"):
        found.append(
            checks.Warning(
                f"ATOMIC_REQUESTS is on for {ours!r}: an account stays locked from its first debit to the response.",
                hint="Meter in views marked non_atomic_requests, and do not call a model while holding tokens.",
                id="django_token_pricing.W006",
            )
        )
    return found


# Caches of Django's that each process has for itself, or that keep nothing.
PRIVATE_CACHES = {"locmem.LocMemCache", "dummy.DummyCache"}


@register(Tags.caches, deploy=True)
def check_throttle_cache(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    alias = conf.current().THROTTLE_CACHE
    backend = str(settings.CACHES.get(alias, {}).get("BACKEND", ""))
    if backend.removeprefix("django.core.cache.backends.") not in PRIVATE_CACHES:
        return []
    return [
        checks.Warning(
            f"The cache {alias!r}, which counts requests for throttles, is not shared between processes.",
            hint="Each process would let the whole limit pass. Name one of Redis or Memcached in"
            " TOKEN_PRICING['THROTTLE_CACHE'], or silence this check if no limit is counted in the cache.",
            id="django_token_pricing.W003",
        )
    ]


@register
def check_schedules(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if apps.is_installed("django_celery_beat"):
        return []  # its tables are looked at below
    return _unscheduled()


@register(Tags.database)
def check_beat(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Asked with `manage.py check --database …`: what django-celery-beat runs stands in its tables."""
    if not apps.is_installed("django_celery_beat"):
        return []
    model = apps.get_model("django_celery_beat", "PeriodicTask")
    alias = router.db_for_read(model)
    if alias not in (databases or ()):
        return []
    try:
        is_migrated = model._meta.db_table in connections[alias].introspection.table_names()
    except OperationalError:
        return []  # whoever needs that database will say that it is not there
    return _unscheduled() if is_migrated else []


def _unscheduled() -> list[CheckMessage]:
    planned = beat.entries()
    missing = [task for task in SCHEDULED if task not in planned or not planned[task].is_enabled]
    if not missing:
        return []
    return [
        checks.Warning(
            f"Nothing runs {' and '.join(missing)} regularly.",
            hint="Write CELERY_BEAT_SCHEDULE = beat_schedule(), from django_token_pricing.schedules, or with"
            " django-celery-beat run token_pricing_install_schedules. Without Celery, let cron call"
            " token_pricing_run_due and silence this check. Balances are right without; renewals, warnings, bulk work,"
            " lists and mirrors wait.",
            id="django_token_pricing.W001",
        )
    ]
