"""Which windows the metering function of PostgreSQL is told of, so that its one call suffices.

Calendars are Python's affair: windows are computed here and go along with the call. Which periods there are is learnt
from the function itself, which names those it lacked and has booked nothing; so a process asks twice once a period.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.utils import timezone

from django_token_pricing.lib import windows

# More would cost each call more than the few that need them twice.
MOST = 16


@dataclass(frozen=True, slots=True)
class Told:
    """Windows as arrays for the database, and the moments for which they are right."""

    zone: str
    since: datetime
    until: datetime
    arrays: dict[str, str]


_known: tuple[str, ...] = ()
_latest: Told | None = None


def learn(periods: Iterable[str]) -> None:
    """These are needed; of those known, the ones that nobody asked for lately are forgotten."""
    global _known, _latest
    news = tuple(dict.fromkeys(periods))
    _known = (*news, *(period for period in _known if period not in news))[:MOST]
    _latest = None


def forget() -> None:
    global _known, _latest
    _known, _latest = (), None


def at(moment: datetime | None) -> dict[str, str]:
    """The windows of a moment (None: now), to be passed on; nothing where no period is known."""
    global _latest
    if not _known:
        return {}
    now = timezone.now() if moment is None else moment
    told = _latest
    if told is None or told.zone != settings.TIME_ZONE or not told.since <= now < told.until:
        told = _told(now)
        if moment is None:
            _latest = told
    return told.arrays


def _told(moment: datetime) -> Told:
    zone = timezone.get_default_timezone()
    periods = _known
    found = [windows.bounds(period, moment, zone) for period in periods]
    starts = [start for start, _end in found]
    ends = [end for _start, end in found if end is not None]
    arrays = {"periods": _array(periods), "starts": _array(starts), "ends": _array(ends)}
    return Told(settings.TIME_ZONE, max(starts), min(ends), arrays)


def _array(values: Iterable[object]) -> str:
    return "{" + ",".join(f'"{value}"' for value in values) + "}"
