"""The calls that crews repeat: each function makes one for one process."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from django.conf import settings

from benchmarks.harness import fresh_keys, users
from django_token_pricing import tokens

FACTS = {"model": "m1", "input_tokens": 5, "output_tokens": 2}


def consume(place: int, accounts: int, keyed: bool = True) -> Callable[[], Any]:
    owners, keys, pick = users(accounts), fresh_keys(place), random.Random(place).choice
    if keyed:
        return lambda: tokens.consume(pick(owners), 7, key=next(keys), **FACTS)
    return lambda: tokens.consume(pick(owners), 7, key=None, **FACTS)


def consume_portably(place: int, accounts: int) -> Callable[[], Any]:
    """The same work on the same tables through the ORM: key, lineage, foreign keys and all."""
    call = consume(place, accounts)
    portable = {"LEDGER_PATH": "portable"}

    def portably() -> Any:
        settings.TOKEN_PRICING = portable
        try:
            return call()
        finally:
            settings.TOKEN_PRICING = {}

    return portably


def consume_again(place: int, accounts: int) -> Callable[[], Any]:
    """Repeats of calls that were made before."""
    owners, keys, pick = users(accounts), fresh_keys(place), random.Random(place).choice
    made = [(pick(owners), next(keys)) for _ in range(2_000)]
    for owner, key in made:
        tokens.consume(owner, 7, key=key, **FACTS)

    def call() -> Any:
        owner, key = pick(made)
        return tokens.consume(owner, 7, key=key, **FACTS)

    return call


def consume_twice(place: int, accounts: int) -> Callable[[], Any]:
    once = consume(place, accounts)

    def call() -> Any:
        once()
        return once()

    return call


def hold_and_settle(place: int, accounts: int) -> Callable[[], Any]:
    owners, keys, pick = users(accounts), fresh_keys(place), random.Random(place).choice

    def call() -> Any:
        key = next(keys)
        tokens.hold(pick(owners), 9, key=key, model="m1")
        return tokens.settle(key, 7, input_tokens=5, output_tokens=2)

    return call
