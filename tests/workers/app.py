"""The Celery app of the workers and beats that tests start: `celery -A tests.workers.app worker`.

The environment says which broker (TP_BROKER, as JSON), how many rows a chunk has (TP_CHUNK), and how often beat calls.
"""

from __future__ import annotations

import json
import os
from typing import Any

from celery import Celery
from celery.signals import worker_init, worker_process_init

# What is due in the tests is due at once.
EVERY = 0.5
DUE = ["django_token_pricing.jobs.sweep", "django_token_pricing.tokens.expire"]


def configured(app: Celery, broker: dict[str, Any]) -> Celery:
    app.config_from_object("django.conf:settings", namespace="CELERY")
    app.conf.update(
        broker_url=broker["url"],
        broker_transport_options=broker["options"],
        broker_connection_retry_on_startup=True,
        # As soon as it is there again.
        broker_connection_retry_delay=0.2,
        task_default_queue=broker["queue"],
        task_default_exchange=broker["queue"],
        task_default_routing_key=broker["queue"],
        task_ignore_result=True,
        task_always_eager=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        beat_schedule={task: {"task": task, "schedule": EVERY} for task in DUE},
        beat_max_loop_interval=EVERY,
    )
    app.autodiscover_tasks(["django_token_pricing"], force=True)
    return app


@worker_init.connect
@worker_process_init.connect
def small_chunks(**kwargs: Any) -> None:
    """So that a job takes long enough to be killed in the middle."""
    from django_token_pricing.tokens.account_jobs import GrantToAccounts

    if rows := os.environ.get("TP_CHUNK"):
        GrantToAccounts.chunk_size = lambda self, job: int(rows)  # type: ignore[method-assign]


if "TP_BROKER" in os.environ:
    import django

    django.setup()
    app = configured(Celery("tests.workers"), json.loads(os.environ["TP_BROKER"]))
