"""One digest for whatever must be unique by its content, whatever a database's collation makes of text."""

from __future__ import annotations

import hashlib
from uuid import UUID


def digest(text: str) -> UUID:
    """120 bits of the SHA-256 of the text's UTF-8 bytes, in the shape of a name-based UUID.

    MariaDB 10 refuses UUIDs whose version digit is above 5 or whose variant is another.
    """
    found = hashlib.sha256(text.encode()).hexdigest()
    return UUID(f"{found[:12]}5{found[13:16]}8{found[17:32]}")
