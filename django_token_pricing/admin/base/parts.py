"""Pieces of pages that several screens share."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.safestring import SafeString


@dataclass(frozen=True, slots=True)
class Card:
    """A figure, how it changed or what it is made of, and its shape."""

    label: str
    figure: str
    strong: str = ""
    note: str = ""
    spark: SafeString | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """What is to be known before acting: what is so, what follows, and one link to act on it."""

    state: str
    strong: str
    text: str = ""
    url: str = ""
    link: str = ""
