"""The detector for any series, with its findings in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from django_token_pricing.lib import anomalies as lib


@dataclass(frozen=True, slots=True)
class Finding:
    """One odd stretch: from the first to the last of its moments, the worst of them `at`.

    `kind` is spike, dip or flat; `low` and `high` are what would not have been told, `score` how many usual deviations
    the value is from what was expected. `reason` says it with the numbers.
    """

    starts_at: Any
    ends_at: Any
    at: Any
    kind: str
    value: float
    expected: float
    low: float
    high: float
    score: float
    reason: str


def detect(series: Iterable[tuple[Any, Any]], *, sensitivity: int = 5) -> list[Finding]:
    """What is odd in [(moment, value)], the earliest first, judged by what was before each value alone.

    Moments are datetimes, dates or seconds, of any regular interval up to a day. A gap, None and NaN are passed over.
    A season of the day or the week is used where the series shows it. `sensitivity` goes from 1 (only what is beyond
    doubt) to 10. A series that is too short has no findings.
    """
    return [
        Finding(
            hit.starts_at,
            hit.ends_at,
            hit.at,
            hit.kind,
            hit.value,
            hit.expected,
            hit.low,
            hit.high,
            hit.score,
            _reason(hit),
        )
        for hit in lib.detect(series, sensitivity=sensitivity)
    ]


def written(value: float, *, places: int = 2) -> str:
    """A number of any size with as many decimals as tell something, and no more than that."""
    value = round(value, places) if abs(value) >= 0.1 else value
    if abs(value) >= 100 or value == round(value):
        places = 0
    if 0 < abs(value) < 0.1:
        return formats.localize(float(f"{value:.2g}"), use_l10n=True)
    return formats.number_format(round(value, places), decimal_pos=places, use_l10n=True, force_grouping=True)


def _reason(hit: lib.Hit) -> str:
    facts = {
        "value": written(hit.value),
        "expected": written(hit.expected),
        "low": written(hit.low),
        "high": written(hit.high),
        "score": written(hit.score, places=1),
        "length": length(hit.step),
        "count": written(hit.values),
    }
    if hit.kind == lib.FLAT:
        return _("%(value)s again and again, %(count)s times: it never stood still for so long.") % facts
    if hit.kind == lib.SPIKE:
        words = _(
            "%(value)s in %(length)s, where about %(expected)s was expected and up to %(high)s is usual:"
            " %(score)s times the usual deviation above."
        )
    else:
        words = _(
            "%(value)s in %(length)s, where about %(expected)s was expected and no less than %(low)s is usual:"
            " %(score)s times the usual deviation below."
        )
    return words % facts


def length(seconds: float) -> str:
    """An interval of measurements in words."""
    for size, one, many in (
        (86_400, pgettext("interval", "a day"), pgettext("interval", "%(count)s days")),
        (3_600, pgettext("interval", "an hour"), pgettext("interval", "%(count)s hours")),
        (60, pgettext("interval", "a minute"), pgettext("interval", "%(count)s minutes")),
    ):
        count = seconds / size
        if count >= 1:
            return one if round(count, 1) == 1 else many % {"count": written(count, places=1)}
    return pgettext("interval", "%(count)s seconds") % {"count": written(seconds, places=1)}
