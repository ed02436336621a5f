"""Hosts that are not like the one of the other tests: a router, another user key, tests without migrations."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

ROUTED = """
from tests.settings.base import *
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "%(folder)s/default.sqlite3"},
    "money": {"ENGINE": "django.db.backends.sqlite3", "NAME": "%(folder)s/money.sqlite3"},
}
class Router:
    apps = {"host", "auth", "contenttypes", "django_token_pricing", "admin"}
    def db_for_read(self, model, **hints):
        return "money" if model._meta.app_label in self.apps else None
    db_for_write = db_for_read
    def allow_migrate(self, db, app_label, **hints):
        return (db == "money") == (app_label in self.apps)
DATABASE_ROUTERS = ["routed.Router"]
"""

SCENARIO = """
import django; django.setup()
from django.core.management import call_command
for alias in ("default", "money"):
    call_command("migrate", database=alias, verbosity=0)
call_command("check")
from django.db import connections
from django_token_pricing import tokens
from tests.world import new_pool, new_user
user = new_user()
pool = new_pool(user, cap=50)
tokens.grant(user, 10, source="plan")
tokens.grant_many([tokens.GrantRow(pool, 100)], source="plan")
tokens.consume(user, 30, key="message:1")
with tokens.hold(user, 5, key="job:1") as hold:
    hold.settle(3)
tokens.refund("message:1", 4, key="refund:1", reason="half")
tokens.record_many([tokens.Use(user, 7, key="old:1")])
tokens.expire(as_of=django.utils.timezone.now())
assert tokens.balance(user).spendable == 31, tokens.balance(user)
assert list(tokens.reconcile()) == []
assert "django_token_pricing_tokenaccount" not in connections["default"].introspection.table_names()
print("done")
"""


def run(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_ledger_follows_a_router_to_the_database_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "routed.py").write_text(ROUTED % {"folder": tmp_path})
    done = run(
        ["-c", SCENARIO],
        DJANGO_SETTINGS_MODULE="routed",
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]),
        TP_DATABASE="sqlite",
    )
    assert done.stdout.endswith("done\n"), done.stdout + done.stderr


@pytest.mark.postgres
def test_a_host_that_tests_without_migrations_gets_the_portable_path() -> None:
    done = run(
        ["-m", "pytest", "--nomigrations", "-q", "-p", "no:cacheprovider", "tests/tokens/test_burning.py"],
        TP_TEST_NAME=f"tp_test_plain_{os.getpid()}",
    )
    assert done.returncode == 0, done.stdout + done.stderr
