"""The file of a job, kept in the database in pieces: private, there for every worker, gone with the job."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from django_token_pricing.models import Job, JobFile

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined, unused-ignore]

# Below the packet that MariaDB takes by default, and large enough that a row costs little.
PIECE = 256 << 10


def store(job: Job, chunks: Iterable[bytes]) -> int:
    """Keep what is given as the job's file; answers its size."""
    with FileWriter(job) as file:
        return sum(file.write(chunk) for chunk in chunks)


def pieces(job: Job) -> Iterator[bytes]:
    """The file from its start, a piece at a time."""
    number = 0
    while True:
        content = _files(job).filter(number=number).values_list("content", flat=True).first()
        if content is None:
            return
        yield bytes(content)
        number += 1


def _files(job: Job):  # type: ignore[no-untyped-def]
    return JobFile.objects.using(job._state.db or "default").filter(job=job)


class FileWriter(io.RawIOBase):
    """Writes the job's file anew; closing it stores the last piece."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job
        self.number = 0
        self.buffer = bytearray()
        _files(job).delete()

    def writable(self) -> bool:
        return True

    def write(self, content: Buffer) -> int:
        self.buffer += content
        while len(self.buffer) >= PIECE:
            self._store(bytes(self.buffer[:PIECE]))
            del self.buffer[:PIECE]
        return len(memoryview(content).cast("B"))

    def close(self) -> None:
        if not self.closed and self.buffer:
            self._store(bytes(self.buffer))
            self.buffer.clear()
        super().close()

    def _store(self, content: bytes) -> None:
        alias = self.job._state.db or "default"
        JobFile.objects.using(alias).create(job=self.job, number=self.number, content=content)
        self.number += 1


class FileReader(io.RawIOBase):
    """Reads the job's file, forwards and from any place, one piece in memory."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job
        rows = _files(job)
        last = rows.order_by("-number").values_list("number", "content").first()
        self.size = last[0] * PIECE + len(last[1]) if last else 0
        self.place = 0
        self.number, self.content = -1, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.size}[whence]
        self.place = max(start + offset, 0)
        return self.place

    def readinto(self, target: Buffer) -> int:
        view = memoryview(target).cast("B")
        number, offset = divmod(self.place, PIECE)
        if number != self.number:
            content = _files(self.job).filter(number=number).values_list("content", flat=True).first()
            self.number, self.content = number, bytes(content or b"")
        part = self.content[offset : offset + len(view)]
        view[: len(part)] = part
        self.place += len(part)
        return len(part)
