"""What readers of tables have in common: a row, the limits of one, and what can be wrong."""

from __future__ import annotations

from typing import Any

MOST_COLUMNS = 1_000
MOST_CHARACTERS = 1 << 20


def gettext_noop(text: str) -> str:
    """Marks a text for translation; the edge translates it when it shows the error."""
    return text


class SheetError(ValueError):
    """What is wrong with a file, a row or a cell: a stable `code`, a `template` for gettext, the `facts` in it."""

    def __init__(self, code: str, template: str, **facts: Any) -> None:
        super().__init__(code, template, facts)
        self.code = code
        self.template = template
        self.facts = facts

    def __str__(self) -> str:
        return self.template % self.facts


Row = tuple[int, list[Any], "SheetError | None"]
"""The line on which it starts (of XLSX, its number), its cells, and why it cannot be trusted, if so."""
