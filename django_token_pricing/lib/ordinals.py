"""Which among its equals each item of a long stream is, counted exactly and in flat memory.

The counts are in a temporary database of SQLite's on disk, read and written a batch at a time. Items are given as
64-bit hashes; should two different ones share a hash they count as equals, in the same way each time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from types import TracebackType


class Ordinals:
    """Use it in a `with` block; the counts go with it."""

    def __init__(self, *, cache_megabytes: int = 8) -> None:
        # An empty name is a file of SQLite's own, removed on closing.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(
            f"""
            PRAGMA journal_mode = OFF;
            PRAGMA synchronous = OFF;
            PRAGMA cache_size = -{cache_megabytes * 1024};
            CREATE TABLE seen (item INTEGER PRIMARY KEY, times INTEGER NOT NULL);
            CREATE TABLE batch (item INTEGER PRIMARY KEY);
            """
        )

    def __enter__(self) -> Ordinals:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def of(self, items: Sequence[int]) -> list[int]:
        """For each item, from 1, how often it has come up to now; signed 64-bit hashes."""
        execute = self._database.execute
        ordered = sorted(set(items))  # neighbours share pages
        execute("BEGIN")
        execute("DELETE FROM batch")
        self._database.executemany("INSERT INTO batch VALUES (?)", ((item,) for item in ordered))
        times = dict.fromkeys(ordered, 0)
        times.update(execute("SELECT item, times FROM batch JOIN seen USING (item)"))
        ordinals = []
        for item in items:
            times[item] += 1
            ordinals.append(times[item])
        self._database.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?)", times.items())
        execute("COMMIT")
        return ordinals
