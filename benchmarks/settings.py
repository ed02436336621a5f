"""A host with Django's stock user, on a database of the benchmarks' own; processes they start join it by its name."""

import os

from tests import databases
from tests.settings.intuser import *  # noqa: F403

DATABASES = {"default": databases.settings("postgres")}
DATABASES["default"]["NAME"] = os.environ.setdefault("TP_BENCH_DATABASE", f"tp_bench_{os.getpid()}")
