"""The kinds of deeds that may need a second person."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from django_token_pricing.models import Approval


class Deed(ABC):
    """One kind. `kind` is stored with each request, so it never changes."""

    kind: ClassVar[str]
    # What a person needs, as "app.codename", to ask for it; who decides needs it too, beside decide_approval.
    permission: ClassVar[str]
    # Above which size a second person is needed where no ApprovalRule says; None where none is.
    default_above: ClassVar[int | None] = None

    @abstractmethod
    def name(self) -> str:
        """What this kind of deed is, as a heading; `size` is measured in tokens."""

    @abstractmethod
    def title(self, approval: Approval) -> str:
        """What was asked, in a sentence without a stop."""

    @abstractmethod
    def facts(self, approval: Approval) -> Iterable[tuple[str, Any, Any]]:
        """(what, before, after), for who decides: what is true now, and what would be."""

    @abstractmethod
    def carry_out(self, approval: Approval, actor: Any) -> None:
        """Do it, in the transaction that approves; `actor` is who asked. Raises TokenPricingError if that fails."""


_deeds: dict[str, Deed] = {}


def register(deed: type[Deed]) -> type[Deed]:
    _deeds[deed.kind] = deed()
    return deed


def deed_of(kind: str) -> Deed:
    """Raises KeyError for a kind that nobody registered."""
    return _deeds[kind]


def deeds() -> list[Deed]:
    return list(_deeds.values())
