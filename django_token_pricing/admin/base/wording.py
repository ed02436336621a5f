"""Numbers and moments as people read them: by the active locale, a true minus, moments in the reader's zone."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

from django.utils import formats, timezone
from django.utils.translation import pgettext

from django_token_pricing.lib.money import plain

NOTHING = "—"
MINUS = "\N{MINUS SIGN}"
# Up to here a figure is written out on an account's page.
EXACT_BELOW = 10_000_000


def number(value: int) -> str:
    text = formats.number_format(abs(value), use_l10n=True, force_grouping=True)
    return f"{MINUS}{text}" if value < 0 else text


def signed(value: int) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def short(value: float) -> str:
    """Three digits and a unit: 4,300,000 is 4.3M."""
    size = abs(value)
    for limit, unit in (
        (1e12, pgettext("unit of a short number", "%(number)sT")),
        (1e9, pgettext("unit of a short number", "%(number)sB")),
        (1e6, pgettext("unit of a short number", "%(number)sM")),
        (1e3, pgettext("unit of a short number", "%(number)sk")),
    ):
        # 999,950 would be rounded to "1000k".
        if size >= limit * 0.9995:
            text = unit % {"number": _digits(size / limit)}
            break
    else:
        text = _digits(size)
    return f"{MINUS}{text}" if value < 0 else text


def _digits(scaled: float) -> str:
    rounded = round(scaled, 1)
    places = 0 if rounded >= 100 or rounded == int(rounded) else 1
    return formats.number_format(Decimal(f"{scaled:.{places}f}"), use_l10n=True)


def figure(value: int) -> str:
    """The large number of a card."""
    return number(value) if abs(value) < EXACT_BELOW else short(value)


def per_cent(share: float) -> str:
    """A share of 1; what is not nothing is never shown as nothing."""
    if 0 < share < 0.005:
        return pgettext("share", "< 1%")
    return pgettext("share", "%(number)s%%") % {"number": formats.number_format(round(share * 100), use_l10n=True)}


def change(now: int, before: int) -> str:
    """How much more or less than before, in per cent; `before` is above 0."""
    share = (now - before) / before
    size = formats.number_format(round(abs(share) * 100), use_l10n=True, force_grouping=True)
    sign = "±" if round(share * 100) == 0 else "+" if share > 0 else MINUS
    return pgettext("change", "%(sign)s%(number)s%%") % {"sign": sign, "number": size}


def amount(value: Decimal) -> str:
    """Money whose currency is in the head of its column: two decimals, more for what is less than a cent."""
    places = 2 if value == 0 or abs(value) >= Decimal("0.01") else 6
    text = formats.number_format(round(abs(value), places), decimal_pos=places, use_l10n=True, force_grouping=True)
    return f"{MINUS}{text}" if value < 0 else text


def money(value: Decimal, currency: str) -> str:
    """With its currency."""
    return pgettext("money", "%(currency)s %(amount)s") % {"currency": currency, "amount": amount(value)}


def decimal(value: Decimal) -> str:
    """All its decimals, and two at least."""
    places = len(plain(value).partition(".")[2])
    text = formats.number_format(abs(value), decimal_pos=places, use_l10n=True, force_grouping=True)
    return f"{MINUS}{text}" if value < 0 else text


def moment(value: datetime) -> str:
    return formats.date_format(timezone.localtime(value), pgettext("date format", "j M Y, H:i"))


def exact_moment(value: datetime) -> str:
    return formats.date_format(timezone.localtime(value), pgettext("date format", "j M Y, H:i:s"))


def day(value: datetime | date) -> str:
    if isinstance(value, datetime):
        value = timezone.localtime(value)
    return formats.date_format(value, pgettext("date format", "j M Y"))


def short_day(value: date) -> str:
    return formats.date_format(value, pgettext("date format", "j M"))


def clock(value: datetime, as_of: datetime) -> str:
    """The time alone for a moment of today."""
    if timezone.localdate(value) == timezone.localdate(as_of):
        return formats.date_format(timezone.localtime(value), pgettext("date format", "H:i"))
    return moment(value)


def exact_clock(value: datetime) -> str:
    """The time with its seconds, and the day of what was not today."""
    if timezone.localdate(value) == timezone.localdate():
        return formats.date_format(timezone.localtime(value), pgettext("date format", "H:i:s"))
    return exact_moment(value)


def month(value: date) -> str:
    return formats.date_format(value, pgettext("date format", "F Y"))
