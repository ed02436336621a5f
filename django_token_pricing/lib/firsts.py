"""Where each item of a long stream came first and what was said of it then, exactly and in flat memory.

What was seen is in a temporary database of SQLite's on disk, read and written a batch at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from types import TracebackType


class Firsts:
    """Use it in a `with` block; what it knows goes with it."""

    def __init__(self, *, cache_megabytes: int = 8) -> None:
        # An empty name is a file of SQLite's own, removed on closing.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(
            f"""
            PRAGMA journal_mode = OFF;
            PRAGMA synchronous = OFF;
            PRAGMA cache_size = -{cache_megabytes * 1024};
            CREATE TABLE seen (item BLOB PRIMARY KEY, said BLOB NOT NULL, place INTEGER NOT NULL) WITHOUT ROWID;
            CREATE TABLE batch (item BLOB PRIMARY KEY) WITHOUT ROWID;
            """
        )

    def __enter__(self) -> Firsts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def of(self, items: Sequence[tuple[bytes, bytes, int]]) -> list[tuple[bytes, int] | None]:
        """For each (item, what is said of it, place): what was said where it came first; None where that is here."""
        execute = self._database.execute
        execute("BEGIN")
        execute("DELETE FROM batch")
        self._database.executemany("INSERT OR IGNORE INTO batch VALUES (?)", sorted((item,) for item, _, _ in items))
        known = {
            item: (said, place)
            for item, said, place in execute("SELECT item, said, place FROM batch JOIN seen USING (item)")
        }
        new: dict[bytes, tuple[bytes, int]] = {}
        found: list[tuple[bytes, int] | None] = []
        for item, said, place in items:
            first = known.get(item) or new.get(item)
            found.append(first)
            if first is None:
                new[item] = said, place
        rows = sorted((item, said, place) for item, (said, place) in new.items())
        self._database.executemany("INSERT INTO seen VALUES (?, ?, ?)", rows)
        execute("COMMIT")
        return found
