"""The charts of the overview, each with its message, its table and what its colours stand for."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.dates import WEEKDAYS, WEEKDAYS_ABBR
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from django_token_pricing import analytics
from django_token_pricing.admin.analytics.columns import Columns
from django_token_pricing.admin.analytics.filter_bar import name_of, span
from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.wording import number, short

OTHER_SLOT = 5


def titles() -> dict[str, str]:
    return {"model": _("Usage by model"), "feature": _("Usage by feature"), "tier": _("Usage by tier")}


def series_of(course: analytics.Course, names: analytics.Names) -> list[charts.Series]:
    """The groups in their colours; what is not of the largest is “other”, in grey."""
    others = {"model": _("Other models"), "feature": _("Other features"), "tier": _("Other tiers")}
    colours = names.colours(course.dimension, [group.name for group in course.groups if group.name is not None])
    return [
        charts.Series(
            others[course.dimension] if group.name is None else name_of(course.dimension, group.name),
            [None if point is None else point.tokens for point in group.points],
            OTHER_SLOT if group.name is None else colours[group.name],
        )
        for group in course.groups
    ]


def usage(course: analytics.Course, names: analytics.Names, zone: str) -> charts.Chart | None:
    """None when nothing was used."""
    if not course.whole.requests:
        return None
    columns = Columns(course.unit, course.starts, course.period.last)
    series = series_of(course, names)
    totals = [None if point is None else point.tokens for point in course.points]
    highest = max(range(len(totals)), key=lambda place: totals[place] or 0)
    description = _("%(total)s tokens, %(days)s. The most is %(most)s: %(when)s.") % {
        "total": short(course.whole.tokens),
        "days": span(course.period),
        "most": short(totals[highest] or 0),
        "when": columns.headings[highest],
    }
    rows = [
        charts.Row(heading, key, [*(one.values[place] for one in series), totals[place]])
        for place, (heading, key) in enumerate(zip(columns.headings, columns.keys, strict=True))
    ]
    title = titles()[course.dimension]
    return charts.Chart(
        title=title,
        about=_("%(each)s, %(days)s, %(zone)s") % {"each": columns.each, "days": span(course.period), "zone": zone},
        svg=charts.stacked_bars(
            "tp-usage",
            title=title,
            description=description,
            labels=columns.labels,
            series=series,
            height=210,
            every=charts.every(len(columns.labels)),
            tips=columns.headings,
        ),
        table=charts.Table([columns.name, *(one.name for one in series), _("Total")], rows),
        keys=charts.keys_of(series),
        is_direct=True,
    )


def busiest(grid: Sequence[Sequence[int]]) -> str:
    """“Tuesday 10:00–11:00”, or "" where nothing was used."""
    found = charts.peak(grid)
    return cell_name(*found) if found else ""


def cell_name(row: int, column: int) -> str:
    terms = {"day": capfirst(str(WEEKDAYS[row])), "first": f"{column:02d}:00", "last": f"{(column + 1) % 24:02d}:00"}
    return _("%(day)s %(first)s–%(last)s") % terms


def heat(grid: Sequence[Sequence[int]], period: analytics.Period, zone: str) -> charts.Chart | None:
    peak = charts.peak(grid)
    if peak is None:
        return None
    most = short(grid[peak[0]][peak[1]])
    hours = [f"{hour:02d}" for hour in range(24)]
    rows = [charts.Row(capfirst(str(WEEKDAYS[row])), str(row + 1), grid[row]) for row in range(7)]
    title = _("Peak times")
    description = _("Tokens by weekday and hour. The busiest is %(when)s with %(most)s.")
    return charts.Chart(
        title=title,
        about=_("Tokens by weekday and hour, %(days)s, %(zone)s") % {"days": span(period), "zone": zone},
        svg=charts.heat_map(
            "tp-heat",
            title=title,
            description=description % {"when": cell_name(*peak), "most": most},
            rows=[capfirst(str(WEEKDAYS_ABBR[row])) for row in range(7)],
            columns=hours,
            grid=grid,
            named=cell_name,
        ),
        table=charts.Table([_("Weekday"), *hours], rows, words=lambda value: short(value) if value else "0"),
        kind="heat",
    )


def burn_down(flows: analytics.Flows, period: analytics.Period, zone: str) -> charts.Chart | None:
    """What all accounts had at the end of each day. None where nothing was granted yet."""
    columns = Columns(flows.unit, flows.starts, period.last)
    balances: list[int | None] = []
    has_begun = flows.opening != 0
    for column, balance in zip(flows.columns, flows.balances, strict=True):
        has_begun = has_begun or bool(column)
        balances.append(balance if has_begun else None)
    if not has_begun:
        return None
    last = balances[-1] or 0
    title = _("What is left")
    rows = []
    for place, (heading, key) in enumerate(zip(columns.headings, columns.keys, strict=True)):
        moved = flows.columns[place]
        other = moved.net - moved.allocated + moved.consumed + moved.expired
        values = [moved.allocated, moved.consumed, moved.expired, other, balances[place]]
        rows.append(charts.Row(heading, key, values))
    return charts.Chart(
        title=title,
        about=_("Balance of all accounts at the end of each column, %(days)s, %(zone)s")
        % {"days": span(period), "zone": zone},
        svg=charts.lines(
            "tp-burn",
            title=title,
            description=_("All accounts have %(last)s tokens at the end.") % {"last": number(last)},
            labels=columns.labels,
            series=[charts.Series(_("Balance"), balances, 1)],
            height=170,
            every=charts.every(len(columns.labels)),
            tips=columns.headings,
        ),
        table=charts.Table(
            [columns.name, _("Allocated"), _("Consumed"), _("Expired"), _("Otherwise"), _("Balance")], rows
        ),
    )
