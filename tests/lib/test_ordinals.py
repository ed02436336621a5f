from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from django_token_pricing.lib.ordinals import Ordinals

ITEMS = st.sampled_from([-(2**63), -1, 0, 1, 2**63 - 1])


@given(st.lists(st.lists(ITEMS, max_size=20), max_size=10))
def test_each_item_is_numbered_among_its_equals_whatever_the_batches(batches: list[list[int]]) -> None:
    seen: Counter[int] = Counter()
    with Ordinals() as ordinals:
        for batch in batches:
            expected = []
            for item in batch:
                seen[item] += 1
                expected.append(seen[item])
            assert ordinals.of(batch) == expected
