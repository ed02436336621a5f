"""Where the usage stands in an answer, and the name of the model."""

from __future__ import annotations

from typing import Any

from django_token_pricing.lib.provider_usage import texts
from django_token_pricing.lib.provider_usage.blocks import Block, block_of, shown
from django_token_pricing.lib.provider_usage.errors import UnreadableUsage, gettext_noop
from django_token_pricing.lib.provider_usage.families import family_of

DEEPEST = 6
METRICS = "amazon-bedrock-invocationMetrics"
# Where an object that holds no counts itself may have them, the likeliest first.
USAGE = ("usage", "usage_metadata", "x_groq", METRICS)
PLACES = (
    *USAGE,
    "meta",
    "response",
    "message",
    "delta",
    "data",
    "result",
    "body",
    "chunk",
    "bytes",
    "model_output",
    "metadata",
    "token_usage",
    "llm_output",
    "response_metadata",
    "http_headers",
    "headers",
)
MODELS = ("model", "model_version", "model_id", "model_name")
MODEL_PLACES = ("response", "message", "data", "result", "body", "chunk", "bytes", "response_metadata", "model_output")
TEXT = (str, bytes, bytearray, memoryview)


def usage_in(node: Block, within: tuple[int, ...] = ()) -> Block | None:
    """The block with the counts, in the object or in the ones that it is wrapped in."""
    if family_of(node) is not None:
        return node
    if len(within) >= DEEPEST:
        return None
    for place in PLACES:
        value = node.get(place)
        if value is None or id(value) in within:
            continue
        inner = unpacked(value)
        if inner is None:
            if place in USAGE[:2]:
                raise UnreadableUsage(
                    "not_an_object",
                    gettext_noop("%(name)s is %(value)s, not an object with counts."),
                    name=place,
                    value=shown(value),
                )
            continue
        found = usage_in(inner, (*within, id(value)))
        if found is None and place in USAGE[:2] and inner.values:
            return inner
        if found is not None:
            return found
    return None


def model_in(node: Block, depth: int = 0) -> str | None:
    for name in MODELS:
        value = node.get(name)
        if isinstance(value, str) and value:
            return value
    for place in MODEL_PLACES if depth < DEEPEST else ():
        value = node.get(place)
        inner = None if value is None else unpacked(value)
        found = None if inner is None else model_in(inner, depth + 1)
        if found:
            return found
    return None


def unpacked(value: Any) -> Block | None:
    if isinstance(value, TEXT):
        try:
            value = texts.parsed(value)
        except UnreadableUsage:
            return None
    return None if isinstance(value, (list, tuple)) else block_of(value)


def is_embedding(answer: Block) -> bool:
    if answer.has("embedding", "embeddings", "embeddings_by_type"):
        return True
    rows = answer.get("data")
    if isinstance(rows, (list, tuple)) and rows:
        first = block_of(rows[0])
        return first is not None and (first.has("embedding") or first.get("object") == "embedding")
    return False
