"""A process that warns in small batches until it is killed: `python -m tests.notifications.worker`."""

from __future__ import annotations

import sys
from typing import Any

BATCH = 5


def main() -> None:
    import django

    django.setup()
    from django_token_pricing import notifications
    from django_token_pricing.lib import steps
    from django_token_pricing.notifications import warnings

    fire = warnings.fire

    def telling(due: Any, *given: Any) -> Any:
        sys.stdout.write(f"{len(due)}\n")
        sys.stdout.flush()
        return fire(due, *given)

    steps.STEP = BATCH
    warnings.fire = telling
    notifications.warn()


if __name__ == "__main__":
    main()
