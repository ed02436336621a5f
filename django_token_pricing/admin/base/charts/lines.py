"""Lines: measures over time, a forecast with what it is worth, and the small shape in a card.

They lie in a nested <svg> whose view box stretches while strokes do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from django_token_pricing.admin.base.charts import parts as draw
from django_token_pricing.admin.base.charts.parts import TOKENS, Number, Scale, Series, Values
from django_token_pricing.admin.base.wording import short


def lines(
    uid: str,
    *,
    title: str,
    description: str,
    labels: Sequence[str],
    series: Sequence[Series],
    height: int = 180,
    every: int = 5,
    marks: Mapping[int, str] | None = None,
    tips: Sequence[str] | None = None,
    scale: Scale = TOKENS,
) -> SafeString:
    """A line a series over the labels; of several, names stand at the right. A line is broken where a value is None.

    `marks` are upright lines with a word, by place. The axis goes through zero, and below it where values do.
    """
    count = len(labels)
    known = [float(value) for one in series for value in one.values if value is not None]
    steps = draw.axis(min(known, default=0), max(known, default=0), scale=scale)
    plot = _Plot(steps, count, height)
    parts = [draw.grid(steps, plot.y, scale), *(_mark(plot.x(at), height, text) for at, text in (marks or {}).items())]
    paths = [
        format_html('<path class="tp-line tp-s{}" data-s="{}" d="{}"/>', one.slot, number, plot.path(one.values))
        for number, one in enumerate(series)
    ]
    parts.append(plot.stretched(paths))
    parts.extend(plot.dots(one, number) for number, one in enumerate(series))
    for place, label in enumerate(labels):
        rows = [[one.name, scale.told(one.values[place])] for one in series]
        parts.append(
            format_html(
                '<g data-tip="{}">{}</g>',
                draw.tip(tips[place] if tips else label, rows),
                draw.hit(place, count, height),
            )
        )
    last = [next((value for value in reversed(one.values) if value is not None), 0) for one in series]
    if len(series) > 1:
        parts.append(draw.names(series, [plot.y(float(value)) for value in last], height))
    parts.append(draw.x_labels(labels, draw.middles(count), height, every))
    return draw.framed(uid, "line", title, description, height, parts, columns=count)


def forecast(
    uid: str,
    *,
    title: str,
    description: str,
    labels: Sequence[str],
    measured: Values,
    back_test: Values,
    ahead: Sequence[Number],
    low: Sequence[Number],
    high: Sequence[Number],
    height: int = 200,
    every: int = 7,
    interval: str = "",
    limit: tuple[Number, str] | None = None,
    tips: Sequence[str] | None = None,
    scale: Scale = TOKENS,
) -> SafeString:
    """Solid what was measured, dotted what the method would have said of it, dashed what it says comes next.

    `labels` are of the measured days and then of those `ahead`, of which `low` and `high` are the interval. `back_test`
    belongs to the last measured days. A measured None is a gap. `limit` is a level with its name, such as a budget.
    """
    count, now = len(labels), len(measured)
    named = interval or _("80% interval")
    levels = [*measured, *back_test, *ahead, *low, *high, limit[0] if limit else None]
    known = [float(value) for value in levels if value is not None]
    steps = draw.axis(min(known, default=0), max(known, default=0), scale=scale)
    plot = _Plot(steps, count, height)
    since = now - len(back_test)
    parts = [draw.grid(steps, plot.y, scale)]
    if ahead and now:
        parts.append(_mark(plot.x(now - 1), height, _("Today")))
    if limit:
        at = plot.y(float(limit[0]))
        parts.append(
            format_html(
                '<line class="tp-limit" x1="0" x2="100%" y1="{at}" y2="{at}"/>'
                '<text class="tp-dlabel" x="4" y="{}">{}</text>',
                f"{at - 5:.1f}",
                draw.clipped(limit[1], 40),
                at=f"{at:.1f}",
            )
        )
    # The forecast sets out from the last day that was measured.
    join = [measured[-1]] if measured and measured[-1] is not None else []
    start = now - len(join)
    parts.append(
        plot.stretched(
            [
                format_html('<path class="tp-band" d="{}"/>', plot.band([*join, *low], [*join, *high], start)),
                format_html('<path class="tp-line tp-backtest" d="{}"/>', plot.path(back_test, since)),
                format_html('<path class="tp-line" d="{}"/>', plot.path(measured)),
                format_html('<path class="tp-line tp-ahead" d="{}"/>', plot.path([*join, *ahead], start)),
            ]
        )
    )
    parts.append(plot.dots(Series("", measured, 1)))
    for place, label in enumerate(labels):
        if place < now:
            rows = [[_("Measured"), scale.told(measured[place])]]
            if place >= since:
                rows.append([_("Back-test"), scale.told(back_test[place - since])])
        else:
            span = f"{scale.told(low[place - now])}–{scale.told(high[place - now])}"
            rows = [[_("Forecast"), scale.told(ahead[place - now])], [named, span]]
        heading = draw.tip(tips[place] if tips else label, rows)
        parts.append(format_html('<g data-tip="{}">{}</g>', heading, draw.hit(place, count, height)))
    parts.append(draw.x_labels(labels, draw.middles(count), height, every))
    return draw.framed(uid, "line", title, description, height, parts, columns=count)


def sparkline(uid: str, *, title: str, values: Sequence[int], height: int = 30) -> SafeString:
    """No axes: only the shape and the last point. The number beside it carries the value."""
    low, high = min(values), max(values)
    last = max(len(values) - 1, 1)

    def y(value: float) -> float:
        return height - 3 - (value - low) / ((high - low) or 1) * (height - 6)

    points = "L".join(f"{place * 1000 / last:.1f} {y(value):.1f}" for place, value in enumerate(values))
    if len(values) == 1:
        points += f"L1000 {y(values[0]):.1f}"
    body = format_html(
        '<svg viewBox="0 0 1000 {h}" preserveAspectRatio="none" width="100%" height="{h}" overflow="visible">'
        '<path class="tp-area" d="M{p}L1000 {h}L0 {h}Z"/><path class="tp-line tp-thin" d="M{p}"/></svg>'
        '<circle class="tp-dot" cx="100%" cy="{y}" r="2.5"/>',
        h=height,
        p=points,
        y=f"{y(values[-1]):.1f}",
    )
    description = _("From %(first)s to %(last)s.") % {"first": short(values[0]), "last": short(values[-1])}
    return draw.framed(uid, "spark", title, description, height, [body])


class _Plot:
    """Where places and values lie: x in thousandths of the width, y in pixels."""

    def __init__(self, steps: Sequence[float], count: int, height: int) -> None:
        self.low, self.high, self.count, self.height = steps[0], steps[-1], count, height

    def y(self, value: float) -> float:
        return self.height - (value - self.low) / (self.high - self.low) * self.height

    def x(self, place: int) -> float:
        return (place + 0.5) * 100 / self.count

    def point(self, place: int, value: Number) -> str:
        return f"{self.x(place) * 10:.1f} {self.y(float(value)):.1f}"

    def path(self, values: Values, start: int = 0) -> str:
        """Broken at gaps."""
        return "".join(
            f"M{'L'.join(self.point(start + place, value) for place, value in run)}"
            for run in _runs(values)
            if len(run) > 1
        )

    def dots(self, series: Series, number: int = 0) -> SafeString:
        """Points that stand alone, of which there is no line."""
        return draw.joined(
            format_html(
                '<circle class="{}" data-s="{}" cx="{}%" cy="{}" r="2.5"/>',
                series.css,
                number,
                f"{self.x(place):.2f}",
                f"{self.y(float(value)):.1f}",
            )
            for run in _runs(series.values)
            if len(run) == 1
            for place, value in run
        )

    def band(self, low: Sequence[Number], high: Sequence[Number], start: int) -> str:
        there = [self.point(start + place, value) for place, value in enumerate(high)]
        back = [self.point(start + place, value) for place, value in enumerate(low)]
        return f"M{'L'.join([*there, *reversed(back)])}Z" if there else ""

    def stretched(self, paths: Sequence[SafeString]) -> SafeString:
        return format_html(
            '<svg viewBox="0 0 1000 {h}" preserveAspectRatio="none" width="100%" height="{h}" overflow="visible">'
            "{paths}</svg>",
            h=self.height,
            paths=draw.joined(paths),
        )


def _runs(values: Values) -> list[list[tuple[int, Number]]]:
    """Points between gaps, with their places."""
    runs: list[list[tuple[int, Number]]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((place, value))
    return runs


def _mark(x: float, height: int, text: str) -> SafeString:
    return format_html(
        '<line class="tp-now" x1="{x}%" x2="{x}%" y1="-4" y2="{height}"/>'
        '<text class="tp-tick" x="{x}%" y="-8" text-anchor="middle">{text}</text>',
        x=f"{x:.2f}",
        height=height,
        text=draw.clipped(text, draw.LONGEST_NAME),
    )
