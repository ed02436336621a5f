"""The charts of an account's analytics: its days, and its week by hours."""

from __future__ import annotations

from datetime import timedelta

from django.utils.dates import WEEKDAYS, WEEKDAYS_ABBR
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from django_token_pricing import analytics
from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.wording import day, short, short_day


def days(found: analytics.Pattern) -> charts.Chart | None:
    """None where nothing was used."""
    if not found.tokens:
        return None
    count = (found.last - found.since).days + 1
    all_days = [found.since + timedelta(days=place) for place in range(count)]
    values = [found.days.get(one, 0) for one in all_days]
    tips = [day(one) for one in all_days]
    tips[-1] = _("%(when)s, so far") % {"when": tips[-1]}
    highest = max(range(count), key=lambda place: values[place])
    title = _("Usage by day")
    words = _("%(total)s tokens. The highest day is %(day)s with %(most)s. Today is not over.")
    series = [charts.Series(_("Tokens"), values, 1)]
    return charts.Chart(
        title=title,
        about=_("Tokens a day, %(days)s days") % {"days": count},
        svg=charts.stacked_bars(
            "tp-days",
            title=title,
            description=words % {"total": short(found.tokens), "day": tips[highest], "most": short(values[highest])},
            labels=[short_day(one) for one in all_days],
            series=series,
            every=charts.every(count),
            tips=tips,
        ),
        table=charts.Table(
            [_("Day"), _("Tokens")],
            [
                charts.Row(tip, one.isoformat(), [value])
                for tip, one, value in zip(tips[::-1], all_days[::-1], values[::-1], strict=True)
            ],
        ),
        is_direct=True,
    )


def heat(found: analytics.Pattern) -> charts.Chart | None:
    peak = charts.peak(found.grid)
    if peak is None:
        return None
    hours = [f"{hour:02d}" for hour in range(24)]
    title = _("Peak times")
    described = _("Tokens by weekday and hour. The busiest is %(when)s with %(most)s.")
    return charts.Chart(
        title=title,
        about=_("Tokens by weekday and hour"),
        svg=charts.heat_map(
            "tp-week",
            title=title,
            description=described % {"when": cell_name(*peak), "most": short(found.grid[peak[0]][peak[1]])},
            rows=[capfirst(str(WEEKDAYS_ABBR[row])) for row in range(7)],
            columns=hours,
            grid=found.grid,
            named=cell_name,
        ),
        table=charts.Table(
            [_("Weekday"), *hours],
            [charts.Row(capfirst(str(WEEKDAYS[row])), str(row + 1), found.grid[row]) for row in range(7)],
            words=lambda value: short(value) if value else "0",
        ),
        kind="heat",
    )


def busiest(found: analytics.Pattern) -> str:
    peak = charts.peak(found.grid)
    return cell_name(*peak) if peak else ""


def cell_name(row: int, column: int) -> str:
    terms = {"day": capfirst(str(WEEKDAYS[row])), "first": f"{column:02d}:00", "last": f"{(column + 1) % 24:02d}:00"}
    return _("%(day)s %(first)s–%(last)s") % terms
