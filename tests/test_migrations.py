"""The migrations: they agree with the models on every kind of host, go back as well as forward, and leave nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader

LABEL = "django_token_pricing"
HOSTS = ["tests.settings.base", "tests.settings.intuser", "tests.settings.minimal"]

# What a migration may create beside tables, by how the vendor lists it.
ROUTINES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY 1",
    "postgresql": """
        SELECT proname || '(' || pg_get_function_identity_arguments(pg_proc.oid) || ')'
          FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace WHERE nspname = 'public'
        UNION ALL
        SELECT tgname || ' on ' || tgrelid::regclass FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL
        SELECT typname::text FROM pg_type JOIN pg_namespace ON pg_namespace.oid = typnamespace
         WHERE nspname = 'public' AND typtype IN ('d', 'e')
        ORDER BY 1""",
    "mysql": """
        SELECT routine_name FROM information_schema.routines WHERE routine_schema = DATABASE()
        UNION ALL
        SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE()
        ORDER BY 1""",
}


def tables() -> list[str]:
    ours = {model._meta.db_table for model in apps.get_app_config(LABEL).get_models(include_auto_created=True)}
    return sorted(ours & set(connection.introspection.table_names()))


def routines() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(ROUTINES[connection.vendor])
        return [name for (name,) in cursor.fetchall()]


def schema() -> dict[str, Any]:
    """All our migrations made: columns, constraints and indexes by table, and the routines and triggers."""
    made: dict[str, Any] = {"routines": routines()}
    with connection.cursor() as cursor:
        for table in tables():
            columns = connection.introspection.get_table_description(cursor, table)
            made[table] = {
                "columns": [(column.name, column.type_code, column.null_ok) for column in columns],
                "constraints": connection.introspection.get_constraints(cursor, table),
            }
    return made


@pytest.mark.parametrize("host", HOSTS)
def test_no_migration_is_missing(host: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "django", "makemigrations", "--check", "--dry-run", "--settings", host],
        env={**os.environ, "TP_DATABASE": "sqlite", "TP_DATABASE_NAME": ":memory:"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_migrations_are_named_for_what_they_do() -> None:
    loader = MigrationLoader(None)
    names = [name for label, name in loader.disk_migrations if label == LABEL]
    assert names
    assert [name for name in names if "_auto_" in name] == []


def test_there_is_one_chain_of_migrations() -> None:
    assert len(MigrationLoader(None).graph.leaf_nodes(LABEL)) == 1


@pytest.fixture
def migrated(transactional_db: None) -> Iterator[None]:
    yield
    call_command("migrate", LABEL, verbosity=0)


@pytest.mark.usefixtures("migrated")
def test_migrations_go_back_to_nothing_and_forward_to_the_same_schema() -> None:
    before = schema()
    assert len(before) > 1

    call_command("migrate", LABEL, "zero", verbosity=0)
    assert tables() == []
    assert routines() == []

    call_command("migrate", LABEL, verbosity=0)
    assert schema() == before


@pytest.mark.usefixtures("migrated")
def test_each_migration_goes_back_and_forward() -> None:
    chain = [name for label, name in MigrationLoader(None).graph.forwards_plan(leaf()) if label == LABEL]
    for name in [*reversed(chain[:-1]), *chain[1:]]:
        call_command("migrate", LABEL, name, verbosity=0)


def leaf() -> tuple[str, str]:
    (node,) = MigrationLoader(None).graph.leaf_nodes(LABEL)
    return node
