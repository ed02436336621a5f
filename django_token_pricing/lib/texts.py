"""Which text every database can store."""

from __future__ import annotations

import re

# PostgreSQL takes no NUL, and no database half of a surrogate pair.
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def is_storable(text: str) -> bool:
    return _UNSTORABLE.search(text) is None


def is_storable_json(text: str) -> bool:
    """The same for JSON that was written with ensure_ascii=False: it still escapes NUL."""
    return is_storable(text) and _ESCAPED_NUL.search(text) is None


def storable(text: str) -> str:
    """The text without what cannot be stored: PostgreSQL takes no NUL, and no database half a character."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
