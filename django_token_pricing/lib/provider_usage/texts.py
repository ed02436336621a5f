"""Answers as text: one JSON value, lines of JSON, or the events of a stream as the provider sends them."""

from __future__ import annotations

import json
from typing import Any

from django_token_pricing.lib.provider_usage.errors import UnreadableUsage, gettext_noop

END = "[DONE]"
_SKIPPED = ("event:", "id:", "retry:", ":")


def parsed(text: str | bytes | bytearray | memoryview) -> Any:
    """The value, or the list of values. Raises UnreadableUsage for what is neither."""
    if not isinstance(text, str):
        text = bytes(text).decode("utf-8", "replace")
    text = text.strip().removeprefix("\ufeff")
    if not text or text == END:
        return []
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    found = []
    try:
        for line in text.splitlines():
            line = line.strip()
            if not line or line.startswith(_SKIPPED):
                continue
            line = line.removeprefix("data:").strip()
            if line and line != END:
                found.append(json.loads(line))
    except (ValueError, RecursionError):
        raise UnreadableUsage(
            "not_json", gettext_noop("it is text that is not JSON, nor a stream of events.")
        ) from None
    return found


def joined(pieces: list[Any]) -> Any:
    """The pieces of a body: lines without their ends, or cut anywhere."""
    texts = [piece if isinstance(piece, str) else bytes(piece).decode("utf-8", "replace") for piece in pieces]
    if any(isinstance(piece, str) for piece in pieces):
        whole = "".join(texts)
    else:
        # A character may be cut in two.
        whole = b"".join(map(bytes, pieces)).decode("utf-8", "replace")
    try:
        return parsed("\n".join(texts))
    except UnreadableUsage:
        return parsed(whole)
