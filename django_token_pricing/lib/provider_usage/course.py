"""What the events of one streamed answer say, one after the other: counts are those so far, and the last word holds."""

from __future__ import annotations

from typing import Any

from django_token_pricing.lib.provider_usage import families
from django_token_pricing.lib.provider_usage.blocks import Block, block_of
from django_token_pricing.lib.provider_usage.chat import chat, messages
from django_token_pricing.lib.provider_usage.errors import UnreadableUsage, gettext_noop
from django_token_pricing.lib.provider_usage.families import family_of
from django_token_pricing.lib.provider_usage.finding import METRICS, is_embedding, model_in, unpacked, usage_in

# Answers that are whole, whatever stands beside them.
WHOLE = {"chat.completion", "response", "list"}
ENDS = ("response.completed", "response.incomplete", "response.failed", "response.done")


class Course:
    """What the events of one answer have said up to now."""

    def __init__(self) -> None:
        self.model: str | None = None
        self.is_embedding = False
        self.last: Block | None = None
        self.metrics: Block | None = None
        self.messages: Block | None = None
        self.has_end = False
        self.answers = 0
        self.ids: set[Any] = set()
        self.count = 0

    def add(self, node: Block) -> None:
        self.count += 1
        kind = node.get("type")
        self.model = self.model or model_in(node)
        self.is_embedding = self.is_embedding or is_embedding(node)
        if kind in ("message_start", "message_delta"):
            self._add_message(node, kind)
        metrics = unpacked(node.get(METRICS)) if node.has(METRICS) else None
        if metrics is not None:
            self.metrics = metrics
        found = usage_in(node)
        if found is None:
            return
        if kind in ("message_start", "message_delta") or found is metrics:
            return
        self._count_answers(node, found, kind)
        if self.last is not None:
            if not any(_is_number(value) and value for value in found.values.values()):
                # A message of protobuf says 0 for what is not there.
                return
            if family_of(found) is family_of(self.last) in (families.gemini, families.llama):
                found = _highest(self.last, found)
        self.last = found

    def _count_answers(self, node: Block, found: Block, kind: Any) -> None:
        response = block_of(node.get("response"))
        is_whole = node.has("usage") and node.has("stop_reason", "finish_reason")
        if is_whole or node.has("custom_id") or node.get("object") in WHOLE:
            self.answers += 1
        elif kind in ENDS and response is not None:
            self.ids.add(response.get("id"))
        elif isinstance(node.get("response_id"), str):
            self.ids.add(node.get("response_id"))
        elif block_of(node.get("metadata")) is not None and usage_in(node) is not None:
            self.answers += not node.has("choices", "candidates")
        elif found is node and family_of(node) in (chat, messages):
            self.answers += 1

    def _add_message(self, node: Block, kind: str) -> None:
        """Anthropic's counts are those so far. Servers that speak like it leave some at 0 in one of the events."""
        if kind == "message_start":
            self.answers += 1
        found = usage_in(node)
        if found is None:
            return
        if kind == "message_delta":
            self.has_end = self.has_end or found.get("output_tokens") is not None
        self.messages = found if self.messages is None else _highest(self.messages, found)

    def usage(self) -> Block:
        if self.answers > 1 or len(self.ids) > 1:
            raise UnreadableUsage(
                "several", gettext_noop("it holds several answers: meter each of them with a key of its own.")
            )
        if self.messages is not None and self.has_end:
            return self.messages
        found = self.metrics or (self.last if self.messages is None else None)
        if found is not None:
            return found
        if self.messages is not None:
            raise UnreadableUsage(
                "unfinished", gettext_noop("the stream ends before its message_delta, so that the output is not known.")
            )
        if not self.count:
            raise UnreadableUsage("empty", gettext_noop("the stream is empty, or was read before."))
        raise UnreadableUsage(
            "no_usage_in_stream",
            gettext_noop(
                "no chunk of the stream holds usage. Ask the provider for it, as in OpenAI's"
                " stream_options={“include_usage”: true}."
            ),
        )


def _highest(before: Block, later: Block) -> Block:
    both = before.merged(later)
    for key, value in before.values.items():
        now = both.values.get(key)
        if isinstance(now, (int, float)) and _is_number(value) and _is_number(now) and 0 <= now < value:
            both.values[key] = value
    return both


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
