"""The models, features and tiers that usage has named, each with the colour that it keeps on every page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django_token_pricing.models import ChartSlot

# Of all dimensions together: what a page can list.
MOST_NAMES = 3_000
COLOURS = (1, 2, 3, 4, 6)
OTHER = 5


@dataclass(frozen=True, slots=True)
class Names:
    """By dimension, the names with their colours; 0 is none of its own."""

    slots: Mapping[str, Mapping[str, int]]

    def of(self, dimension: str) -> list[str]:
        return list(self.slots.get(dimension, {}))

    def colours(self, dimension: str, shown: Iterable[str]) -> dict[str, int]:
        """A colour for each of at most five names: its own, else one that nobody in this chart has."""
        wanted = list(shown)
        own = self.slots.get(dimension, {})
        found: dict[str, int] = {}
        for name in wanted:
            slot = own.get(name, 0)
            if slot in COLOURS and slot not in found.values():
                found[name] = slot
        free = [slot for slot in COLOURS if slot not in found.values()]
        for name in wanted:
            if name not in found:
                found[name] = free.pop(0) if free else OTHER
        return found


def names() -> Names:
    """One query. The first to come are the ones that are listed, if there are more than a page can show."""
    slots: dict[str, dict[str, int]] = {}
    rows = ChartSlot.objects.order_by("pk").values_list("dimension", "name", "slot")
    for dimension, name, slot in rows[:MOST_NAMES]:
        slots.setdefault(dimension, {})[name] = slot
    return Names(slots)
