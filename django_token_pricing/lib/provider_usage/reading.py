"""Finding the usage in what a provider answered, and the model; of a stream, what its last word on it is."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator
from typing import Any

from django_token_pricing.lib.provider_usage import texts
from django_token_pricing.lib.provider_usage.blocks import Block, block_of, shown
from django_token_pricing.lib.provider_usage.common import Context, checked
from django_token_pricing.lib.provider_usage.course import Course
from django_token_pricing.lib.provider_usage.errors import UnreadableUsage, gettext_noop
from django_token_pricing.lib.provider_usage.families import family_of
from django_token_pricing.lib.provider_usage.finding import TEXT, is_embedding, model_in, unpacked, usage_in
from django_token_pricing.lib.provider_usage.providers import provider_name
from django_token_pricing.lib.provider_usage.results import Counts


def counts(payload: Any, provider: str | None = None) -> Counts:
    """The tokens of a request, from its usage block, its whole answer, or the stream of it.

    Raises UnreadableUsage where counts are missing, not whole, below 0 or beyond any request, where parts are more than
    their whole, and where it cannot be told what they mean without `provider`.
    """
    name = provider_name(provider) if provider else ""
    if isinstance(payload, AsyncIterable) and not hasattr(payload, "usage"):
        raise UnreadableUsage(
            "async", gettext_noop("it is an asynchronous stream: collect its chunks in a list first.")
        )
    if isinstance(payload, TEXT):
        payload = texts.parsed(payload)
    answer = None if _is_stream(payload) else block_of(payload)
    if answer is not None:
        return _of_answer(answer, name)
    if isinstance(payload, Iterable) and not isinstance(payload, TEXT):
        return _of_stream(_nodes(payload), name)
    raise UnreadableUsage(
        "not_usage",
        gettext_noop("%(value)s is neither usage, nor an answer, nor a stream of one."),
        value=shown(payload),
    )


def _is_stream(payload: Any) -> bool:
    return isinstance(payload, (list, tuple, Iterator)) and not hasattr(payload, "_fields")


# One answer ----------------------------------------------------------------------------------------------------------


def _of_answer(answer: Block, provider: str) -> Counts:
    stream = answer.get("stream")
    if isinstance(stream, Iterable) and not isinstance(stream, TEXT) and block_of(stream) is None:
        # What boto3 gives for converse_stream.
        return _of_stream(_nodes(stream), provider)
    found = usage_in(answer)
    if found is None:
        raise _nowhere(answer)
    return _read(found, Context(provider, model_in(answer), is_embedding(answer)))


def _read(usage: Block, context: Context) -> Counts:
    family = family_of(usage)
    if family is None:
        raise UnreadableUsage(
            "unknown",
            gettext_noop("none of its counts is known: %(there)s."),
            there=", ".join(sorted(usage.names.values())[:12]) or "—",
        )
    found = checked(family(usage, context))
    return Counts(
        input=found.input,
        output=found.output,
        cached_read=found.cached_read,
        cached_write=found.cached_write,
        reasoning=found.reasoning,
        model=context.model,
    )


def _nowhere(answer: Block) -> UnreadableUsage:
    there = ", ".join(sorted(answer.names.values())[:12])
    return UnreadableUsage(
        "nowhere",
        gettext_noop("there is no usage in it. It holds: %(there)s."),
        there=there or "—",
    )


# A stream ------------------------------------------------------------------------------------------------------------


def _nodes(payload: Iterable[Any]) -> Iterator[Block]:
    """The objects of a stream, one after the other; of text, what is written there."""
    pieces: list[Any] = []
    for item in payload:
        if isinstance(item, TEXT):
            pieces.append(item)
            continue
        node = block_of(item)
        if node is not None:
            # Events of a body come packed as bytes.
            packed = block_of(node.get("chunk")) or node
            inner = unpacked(packed.get("bytes")) if packed.has("bytes") else None
            yield inner or node
    if pieces:
        whole = texts.joined(pieces)
        yield from filter(None, map(block_of, whole if isinstance(whole, list) else [whole]))


def _of_stream(nodes: Iterator[Block], provider: str) -> Counts:
    """Counts in a stream are those so far: the last word on each holds."""
    course = Course()
    for node in nodes:
        course.add(node)
    return _read(course.usage(), Context(provider, course.model, course.is_embedding))
