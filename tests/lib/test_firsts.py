"""What is said of an item where it comes first, counted against a dict."""

from __future__ import annotations

import random

from django_token_pricing.lib.firsts import Firsts


def test_firsts_are_found_within_and_across_batches() -> None:
    chance = random.Random(7)
    expected: dict[bytes, tuple[bytes, int]] = {}
    with Firsts() as firsts:
        for place in range(0, 3_000, 100):
            batch = [(bytes([chance.randrange(200)]), bytes([chance.randrange(3)]), place + at) for at in range(100)]
            found = firsts.of(batch)
            for (item, said, number), first in zip(batch, found, strict=True):
                assert first == expected.get(item)
                expected.setdefault(item, (said, number))
    assert len(expected) == 200


def test_nothing_asked_is_nothing_answered() -> None:
    with Firsts() as firsts:
        assert firsts.of([]) == []
