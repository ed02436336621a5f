"""Why usage cannot be read: a stable code, and a sentence with its facts that the edge can translate."""

from __future__ import annotations

from typing import Any


def gettext_noop(text: str) -> str:
    """Marks a text for translation; the edge translates it when it shows the error."""
    return text


class UnreadableUsage(ValueError):
    """A stable `code`, a `template` for gettext, the `facts` in it."""

    def __init__(self, code: str, template: str, **facts: Any) -> None:
        super().__init__(code, template, facts)
        self.code = code
        self.template = template
        self.facts = facts

    def __str__(self) -> str:
        return self.template % self.facts
