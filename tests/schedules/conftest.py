"""Beat's tables, and a broker whose messages can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import current_app
from django.apps import apps
from kombu.simple import SimpleQueue

collect_ignore = [] if apps.is_installed("django.contrib.admin") else ["test_page.py", "test_command.py"]


@pytest.fixture
def without_beat(settings: Any) -> None:
    """A host that has not installed django-celery-beat."""
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_celery_beat"]


@pytest.fixture
def sent() -> Iterator[Callable[[], list[str]]]:
    """The tasks that were sent to the broker since last asked."""
    with current_app.connection_for_read() as connection:
        queue: Any = SimpleQueue(connection, current_app.conf.task_default_queue)

        def names() -> list[str]:
            found = []
            while True:
                try:
                    message = queue.get(block=False)
                except queue.Empty:
                    return found
                message.ack()
                found.append(message.headers["task"])

        names()
        yield names
        queue.close()


@pytest.fixture
def no_broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A broker's address at which nobody listens."""
    pool = current_app.amqp._producer_pool
    monkeypatch.setattr(current_app.amqp, "_producer_pool", None)
    monkeypatch.setattr(current_app, "_pool", None)
    before = current_app.conf.broker_url
    current_app.conf.broker_url = "amqp://guest@127.0.0.1:1//"
    yield
    current_app.conf.broker_url = before
    assert current_app.amqp._producer_pool is not pool
