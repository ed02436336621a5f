"""What `counts` answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Tokens of a request. `cached_read` and `cached_write` are parts of `input`, `reasoning` is a part of `output`.

    `model` is what the answer calls it; None where it does not say.
    """

    input: int
    output: int
    cached_read: int = 0
    cached_write: int = 0
    reasoning: int = 0
    model: str | None = None

    @property
    def total(self) -> int:
        return self.input + self.output
