"""Which column of a file of allocations is what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_noop

from django_token_pricing.lib import cells
from django_token_pricing.lib.rows import SheetError
from django_token_pricing.lib.texts import is_storable
from django_token_pricing.tokens.owner_names import Called

# What people call the columns, whatever the case, spaces, hyphens and brackets.
OWNER_NAMES = {
    "owner": Called.ANYTHING,
    "user": Called.ANYTHING,
    "member": Called.ANYTHING,
    "customer": Called.ANYTHING,
    "email": Called.EMAIL,
    "emailaddress": Called.EMAIL,
    "mail": Called.EMAIL,
    "useremail": Called.EMAIL,
    "username": Called.LOGIN,
    "login": Called.LOGIN,
    "userid": Called.KEY,
    "usernumber": Called.KEY,
    "id": Called.KEY,
}
# Where another column says whose the tokens are, this is a number of something else.
WEAK_NAME = "id"
NAMES = {
    **dict.fromkeys(OWNER_NAMES, "owner"),
    **dict.fromkeys(("amount", "tokens", "token", "tokenamount", "amountoftokens"), "amount"),
    **dict.fromkeys(("source",), "source"),
    **dict.fromkeys(("starts", "startsat", "startson", "start", "startdate", "validfrom"), "starts_at"),
    **dict.fromkeys(("expires", "expiresat", "expireson", "expiry", "expirydate", "expirationdate"), "expires_at"),
    **dict.fromkeys(("expiration", "validuntil", "validto", "ends", "endsat", "end", "enddate"), "expires_at"),
    **dict.fromkeys(("priority",), "priority"),
    **dict.fromkeys(("reason", "note"), "reason"),
    **dict.fromkeys(("key", "idempotencykey"), "key"),
    **dict.fromkeys(("paid", "paidamount"), "paid_amount"),
    **dict.fromkeys(("currency", "paidcurrency"), "paid_currency"),
}
REQUIRED = ("owner", "amount")
# Of a cell, in the list of what is wrong.
MOST_SHOWN = 200

_BRACKETS = re.compile(r"[(\[].*?[)\]]")
_NO_LETTER = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Columns:
    """Where the fields stand. What no field is called is ignored, and said to be."""

    places: dict[str, int]
    names: list[str]
    called: Called
    ignored: list[str]

    @classmethod
    def of(cls, names: Sequence[str]) -> Columns:
        """Raises SheetError where a field stands twice, or a needed one not at all."""
        places: dict[str, int] = {}
        ignored = []
        folded = [_folded(name) for name in names]
        has_owner = any(name in OWNER_NAMES and name != WEAK_NAME for name in folded)
        for place, name in enumerate(names):
            found = NAMES.get(folded[place])
            if found is None or (has_owner and folded[place] == WEAK_NAME):
                if name:
                    ignored.append(name)
            elif found in places:
                raise SheetError(
                    "duplicate_column",
                    gettext_noop("The columns “%(first)s” and “%(second)s” say the same. Keep one of them."),
                    first=shown(names[places[found]]),
                    second=shown(name),
                )
            else:
                places[found] = place
        for needed in REQUIRED:
            if needed not in places:
                raise _missing(needed, names)
        return cls(places, list(names), OWNER_NAMES[folded[places["owner"]]], ignored)

    def name(self, field_name: str) -> str:
        """As the file calls it."""
        return shown(self.names[self.places[field_name]]) if field_name in self.places else field_name


def _missing(needed: str, names: Sequence[str]) -> SheetError:
    there = ", ".join(f"“{shown(name)}”" for name in names[:20] if name) + ("…" if len(names) > 20 else "")
    if needed == "owner":
        template = gettext_noop(
            "No column says whose the tokens are. Call one “owner”, “e-mail”, “username” or “user id”."
            " There are: %(there)s."
        )
    else:
        template = gettext_noop(
            "No column says how many tokens are granted. Call one “amount” or “tokens”. There are: %(there)s."
        )
    return SheetError("missing_column", template, column=needed, there=there)


def _folded(name: str) -> str:
    return _NO_LETTER.sub("", _BRACKETS.sub("", name)).casefold()


def shown(cell: Any) -> str:
    written = cells.text(cell)
    written = written if len(written) <= MOST_SHOWN else written[: MOST_SHOWN - 1] + "…"
    return written if is_storable(written) else storable(written)


def storable(text: str) -> str:
    """The text with a sign in the place of each character that no database takes."""
    return "".join(letter if is_storable(letter) else "\N{REPLACEMENT CHARACTER}" for letter in text)
