"""Money as an exact decimal with its currency, rounded once by the currency's own minor units.

Minor units are those of ISO 4217; a currency not named below has two.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

_NO_MINOR_UNIT = [
    "BIF",
    "CLP",
    "DJF",
    "GNF",
    "ISK",
    "JPY",
    "KMF",
    "KRW",
    "PYG",
    "RWF",
    "UGX",
    "UYI",
    "VND",
    "VUV",
    "XAF",
    "XOF",
    "XPF",
]
_THREE_DIGITS = ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"]
MINOR_UNITS = {**dict.fromkeys(_NO_MINOR_UNIT, 0), **dict.fromkeys(_THREE_DIGITS, 3), "CLF": 4, "UYW": 4}
_CURRENCY = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in one currency (ISO 4217 code). Text and integers are taken exactly; floats are refused."""

    amount: Decimal
    currency: str

    def __init__(self, amount: Decimal | int | str, currency: str) -> None:
        if isinstance(amount, bool) or not isinstance(amount, (Decimal, int, str)):
            raise TypeError(f"Money takes Decimal, int or str, not {type(amount).__name__}.")
        if not _CURRENCY.fullmatch(currency):
            raise ValueError(f"{currency!r} is not a three-letter currency code.")
        value = Decimal(amount)
        if not value.is_finite():
            raise ValueError("Money is a finite amount.")
        object.__setattr__(self, "amount", value)
        object.__setattr__(self, "currency", currency)

    def __str__(self) -> str:
        return f"{self.currency} {self.amount}"

    def rounded(self) -> Money:
        """Half up to the currency's minor unit."""
        return Money(self.amount.quantize(_unit(self.currency), rounding=ROUND_HALF_UP), self.currency)


def plain(amount: Decimal) -> str:
    """All its decimals, and two at least, with a point and nothing between the thousands: 9.00, 0.0125."""
    exponent = amount.normalize().as_tuple().exponent
    return f"{amount:.{max(2, -exponent if isinstance(exponent, int) else 0)}f}"


def _unit(currency: str) -> Decimal:
    return Decimal(1).scaleb(-MINOR_UNITS.get(currency, 2))


def split(total: Money, *, weights: Sequence[int]) -> list[Money]:
    """Parts in proportion to the weights that sum to the rounded total exactly.

    Largest-remainder method (Hamilton): round every part down, then give the minor units that are left to the
    parts that lost most, the earlier part first.
    """
    if not weights or any(weight < 0 for weight in weights) or not sum(weights):
        raise ValueError("Weights are whole numbers from 0 up, and at least one is above 0.")
    unit = _unit(total.currency)
    units = int(total.rounded().amount / unit)
    sign, units = (-1, -units) if units < 0 else (1, units)
    whole = sum(weights)
    floors = [units * weight // whole for weight in weights]
    by_loss = sorted(range(len(weights)), key=lambda i: (-(units * weights[i] % whole), i))
    for i in by_loss[: units - sum(floors)]:
        floors[i] += 1
    return [Money(sign * part * unit, total.currency) for part in floors]
