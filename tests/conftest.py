"""Fixtures of every test: the database's marks, real threads, a child process, the browser."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pytest
from celery import Celery
from django.conf import settings
from django.db import OperationalError, connection, connections

# The browser's driver runs an event loop in the tests' thread, where Django would refuse its ORM.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")

try:
    import fcntl
except ImportError:
    # Not on Windows.
    fcntl = None  # type: ignore[assignment]

T = TypeVar("T")

# Without an app of its own a shared task would look for a broker on this machine, and perhaps find one.
celery_app = Celery("tests")
celery_app.config_from_object("django.conf:settings", namespace="CELERY")
celery_app.set_default()

hypothesis.settings.register_profile("tests", deadline=None, print_blob=True)
hypothesis.settings.load_profile("tests")

# The minimal host has no admin.
collect_ignore = [] if "django.contrib.admin" in settings.INSTALLED_APPS else ["admin", "accessibility"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
]


def pytest_report_header() -> str:
    database = connection.settings_dict
    return f"database: {connection.vendor} ({database['HOST'] or 'local'}), {database['TEST']['NAME']}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if connection.vendor == "postgresql":
        return
    elsewhere = pytest.mark.skip(reason=f"needs PostgreSQL, not {connection.vendor}")
    for item in items:
        if item.get_closest_marker("postgres"):
            item.add_marker(elsewhere)


@pytest.fixture(autouse=True)
def one_race_at_a_time(request: pytest.FixtureRequest) -> Iterator[None]:
    """Of parallel workers one races, so that connections and cores suffice; the others wait their turn.

    The groups of xdist, which would send these tests to one worker, take no effect with pytest 9.
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None or fcntl is None or request.node.get_closest_marker("concurrency") is None:
        yield
        return
    with open(Path(tempfile.gettempdir()) / f"tp_race_{run}", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def positive(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise pytest.UsageError(f"{variable} must be a positive whole number, not {text!r}.")
    return int(text)


@pytest.fixture(scope="session")
def race_seeds() -> range:
    """Seeds a race test is repeated with; TP_RACE_SEEDS says how many."""
    return range(positive("TP_RACE_SEEDS", 3))


@pytest.fixture(scope="session")
def hypothesis_steps() -> int:
    """Steps in all that a state machine is driven for; TP_HYPOTHESIS_STEPS says how many."""
    return positive("TP_HYPOTHESIS_STEPS", 500)


Parallel = Callable[[Sequence[Callable[[], T]]], "list[T | Exception]"]


@pytest.fixture
def in_parallel() -> Parallel[T]:
    """Run calls at once, a thread and a connection each; answers come in the calls' order, exceptions among them.

    The threads start together, and leave no connection behind that would keep the test database from being dropped.
    """

    def connect(deadline: float) -> None:
        """A server that is still closing the connections of the threads before may have no place for a moment."""
        while True:
            try:
                connection.ensure_connection()
                return
            except OperationalError:
                if time.monotonic() > deadline - 60:
                    raise
                time.sleep(0.2)

    def run(calls: Sequence[Callable[[], T]], *, timeout: float = 300) -> list[T | Exception]:
        start = threading.Barrier(len(calls), timeout=timeout)
        answers: list[Any] = [TimeoutError(f"no answer within {timeout} s")] * len(calls)

        def one(position: int, call: Callable[[], T]) -> None:
            try:
                try:
                    connect(deadline)
                except Exception:
                    start.abort()
                    raise
                start.wait()
                answers[position] = call()
            except Exception as error:
                answers[position] = error
            finally:
                connections.close_all()

        deadline = time.monotonic() + timeout
        threads = [threading.Thread(target=one, args=pair, daemon=True) for pair in enumerate(calls)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0, deadline - time.monotonic()))
        return answers

    return run


@pytest.fixture
def child_environment() -> dict[str, str]:
    """The environment in which a process started by a test works on the test's own database and settings."""
    vendors = {"sqlite": "sqlite", "postgresql": "postgres", "mysql": "mariadb"}
    return {
        **os.environ,
        "TP_DATABASE": vendors[connection.vendor],
        "TP_DATABASE_NAME": str(connection.settings_dict["NAME"]),
    }


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """The system's Chromium for pytest-playwright: downloading one of its own is slow and often not possible."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium on this machine")
    return {**browser_type_launch_args, "executable_path": path, "args": BROWSER_FLAGS}
