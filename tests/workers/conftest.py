"""A real broker, real workers and beats in processes of their own, and a client of that broker in this one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from tests.conftest import celery_app
from tests.workers.app import configured
from tests.workers.brokers import Broker, Files, Rabbit, Redis

BROKERS: dict[str, type[Broker]] = {"redis": Redis, "rabbitmq": Rabbit, "files": Files}


class Crew:
    """Starts workers and beats on one broker, and kills them as only SIGKILL does."""

    def __init__(self, broker: Broker, environment: dict[str, str], folder: Path) -> None:
        self.broker = broker
        self.folder = folder
        told = {"url": broker.url, "options": broker.options, "queue": broker.queue}
        self.environment = {**environment, "TP_BROKER": json.dumps(told)}
        self.processes: list[subprocess.Popen[bytes]] = []
        self.client = configured(Celery("tests.client"), told)

    def worker(self, *, chunk: int | None = None, processes: int = 0) -> subprocess.Popen[bytes]:
        """One process, or with `processes` one that has so many children, as in operation."""
        pool = ["--pool", "prefork", "--concurrency", str(processes)] if processes else ["--pool", "solo"]
        alone = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        chunks = {} if chunk is None else {"TP_CHUNK": str(chunk)}
        return self._start(
            "worker", *pool, *alone, "-n", f"w{len(self.processes)}@%h", "--loglevel", "WARNING", **chunks
        )

    def beat(self) -> subprocess.Popen[bytes]:
        place = str(self.folder / f"beat-{len(self.processes)}")
        return self._start("beat", "-s", place, "--pidfile", "", "--loglevel", "WARNING")

    def _start(self, *arguments: str, **more: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"log-{len(self.processes)}").open("wb")
        with log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "tests.workers.app", *arguments],
                env={**self.environment, **more},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """It and its children, at once and without a word."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def until(self, what: Callable[[], Any], *, timeout: float = 60) -> Any:
        deadline = time.monotonic() + timeout
        while not (found := what()):
            if time.monotonic() > deadline:
                logs = "\n".join(path.read_text()[-3_000:] for path in sorted(self.folder.glob("log-*")))
                raise AssertionError(f"it did not come to this in {timeout} s. What was logged:\n{logs}")
            time.sleep(0.02)
        return found


@pytest.fixture
def crew(request: pytest.FixtureRequest, child_environment: dict[str, str], tmp_path: Path) -> Iterator[Crew]:
    broker = BROKERS[getattr(request, "param", "redis")]()
    found = Crew(broker, child_environment, tmp_path)
    found.client.set_default()
    found.client.set_current()
    try:
        yield found
    finally:
        for process in found.processes:
            found.kill(process)
        found.client.close()
        celery_app.set_default()
        celery_app.set_current()
        broker.stop()
