"""A process that works until it is killed: `python -m tests.tokens.worker PATH SERIES`.

What it does is the same each time, deed by deed, and each deed has a key or a use of its own. So whoever does all of it
again must find every deed done exactly once, whatever had been done before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

ROUNDS = 40
ROWS = 300


def deeds(series: str, users: list[Any]) -> Iterator[Callable[[], Any]]:
    """On users[0] a use, a hold settled, another released, a refund and a grant a round; on all of them a batch."""
    from django_token_pricing import tokens

    user = users[0]
    for n in range(ROUNDS):
        key = f"{series}:{n}"
        yield lambda key=key: tokens.consume(user, 7, key=f"use:{key}")  # type: ignore[misc]
        yield lambda key=key: tokens.hold(user, 9, key=f"hold:{key}", ttl=3600)  # type: ignore[misc]
        yield lambda key=key: tokens.settle(f"hold:{key}", 12)  # type: ignore[misc]
        yield lambda key=key: tokens.hold(user, 4, key=f"void:{key}", ttl=3600)  # type: ignore[misc]
        yield lambda key=key: tokens.release(f"void:{key}")  # type: ignore[misc]
        yield lambda key=key: tokens.refund(f"use:{key}", 2, key=f"refund:{key}", reason="r")  # type: ignore[misc]
        yield lambda key=key: tokens.grant(user, 5, source="plan", key=f"grant:{key}")  # type: ignore[misc]
        if n % 4 == 0:
            rows = [tokens.GrantRow(other, 1, key=f"row:{key}:{place}") for place, other in enumerate(users)]
            yield lambda rows=rows: tokens.grant_many(rows, source="plan", reason=series)  # type: ignore[misc]


# What one series comes to, for the user that all is about, and for each user in batches.
CONSUMED = ROUNDS * (7 + 12)
REFUNDED = ROUNDS * 2
GRANTED = ROUNDS * 5
BATCHES = len(range(0, ROUNDS, 4))


def everyone() -> list[Any]:
    from django.contrib.auth import get_user_model

    return list(get_user_model()._base_manager.order_by("pk")[:ROWS])


def main(path: str, series: str) -> None:
    import django
    from django.conf import settings

    django.setup()
    settings.TOKEN_PRICING = {"LEDGER_PATH": path}
    users = everyone()
    for number, deed in enumerate(deeds(series, users)):
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        deed()


if __name__ == "__main__":
    main(*sys.argv[1:])
