"""What the families of counts share: what is known besides the block, and what can be wrong with counts together."""

from __future__ import annotations

from typing import NamedTuple

from django_token_pricing.lib.provider_usage.blocks import Block, folded
from django_token_pricing.lib.provider_usage.errors import UnreadableUsage, gettext_noop
from django_token_pricing.lib.provider_usage.results import Counts


class Context(NamedTuple):
    """The provider's name, the model's, and whether the answer holds embeddings."""

    provider: str
    model: str | None
    is_embedding: bool


def checked(found: Counts) -> Counts:
    """Raises for parts that are more than their whole."""
    if found.cached_read + found.cached_write > found.input:
        raise above("cached input", found.cached_read + found.cached_write, "input", found.input)
    if found.reasoning > found.output:
        raise above("reasoning", found.reasoning, "output", found.output)
    return found


def name_of(block: Block, name: str) -> str:
    return block.names.get(folded(name), name)


def above(part: str, count: int, of: str, most: int) -> UnreadableUsage:
    return UnreadableUsage(
        "above",
        gettext_noop("%(part)s is %(count)s, more than %(of)s, which is %(most)s."),
        part=part,
        count=count,
        of=of,
        most=most,
    )


def off(one: str, first: int, other: str, second: int) -> UnreadableUsage:
    return UnreadableUsage(
        "does_not_add_up",
        gettext_noop("%(one)s is %(first)s, and %(other)s is %(second)s: it does not add up."),
        one=one,
        first=first,
        other=other,
        second=second,
    )
