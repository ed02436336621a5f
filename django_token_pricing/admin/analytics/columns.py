"""The columns of charts over time in words: hours, days, weeks and months, and which of them is not over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from django_token_pricing import analytics
from django_token_pricing.admin.base.wording import day, month, short_day


@dataclass(frozen=True, slots=True)
class Columns:
    """`labels` stand under a chart, `headings` are whole: in tooltips and tables."""

    unit: str
    starts: Sequence[date | datetime]
    last: date

    @property
    def labels(self) -> list[str]:
        return [self._label(start) for start in self.starts]

    @property
    def headings(self) -> list[str]:
        found = [self._heading(start) for start in self.starts]
        if found and self.last >= analytics.today() and self.unit != "hour":
            found[-1] = _("%(when)s, so far") % {"when": found[-1]}
        return found

    @property
    def keys(self) -> list[str]:
        """As machines read them."""
        return [start.isoformat() for start in self.starts]

    @property
    def name(self) -> str:
        return {"hour": _("Hour"), "day": _("Day"), "week": _("Week"), "month": _("Month")}[self.unit]

    @property
    def each(self) -> str:
        return {
            "hour": _("Tokens an hour"),
            "day": _("Tokens a day"),
            "week": _("Tokens a week"),
            "month": _("Tokens a month"),
        }[self.unit]

    def _label(self, start: date | datetime) -> str:
        if isinstance(start, datetime):
            return _hour(start) if start.hour else short_day(start.date())
        if self.unit == "month":
            return formats.date_format(start, pgettext("date format", "M Y"))
        return short_day(start)

    def _heading(self, start: date | datetime) -> str:
        if isinstance(start, datetime):
            terms = {"day": short_day(start.date()), "first": _hour(start), "last": _hour(start + timedelta(hours=1))}
            return _("%(day)s, %(first)s–%(last)s") % terms
        if self.unit == "week":
            return _("Week from %(day)s") % {"day": day(start)}
        return month(start) if self.unit == "month" else day(start)


def _hour(moment: datetime) -> str:
    """In its own zone, which is the reporting one: not in that of who reads."""
    return formats.time_format(moment.time(), pgettext("date format", "H:i"))
