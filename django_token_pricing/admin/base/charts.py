"""SVG charts drawn on the server.

The drawing is the plot alone: it is 100% wide, x is in per cent and y in pixels, so a chart fills any column without
a script and its type never shrinks. Axis labels hang outside of it in padding that the style sheet reserves. Lines
live in a nested <svg> whose view box stretches while strokes do not. Colours are classes, which the style sheet fills
for light and dark; there is no style attribute and no script. Every text is escaped by `format_html`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from django_token_pricing.admin.base.wording import short

GAP = 15


@dataclass(frozen=True, slots=True)
class Series:
    """One category; `slot` is its colour, 1 to 6, which stays with the category on every page."""

    name: str
    values: Sequence[int]
    slot: int

    @property
    def css(self) -> str:
        return f"tp-c{self.slot}"


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar: its letter in the table below (or none), its size, its class, and whether it is hatched."""

    key: str
    amount: int
    css: str
    is_hatched: bool = False


def ticks(top: float, count: int = 4) -> list[float]:
    """Round steps (1, 2, 2.5, 5 × 10ⁿ) from zero up to `top` or just above it; whole ones, as tokens are."""
    raw = max(top, count) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= raw * (1 - 1e-9))
    step = math.ceil(step) if step < 10 else step
    return [step * number for number in range(math.ceil(max(top, 1) / step - 1e-9) + 1)]


def stacked_bars(
    uid: str,
    *,
    title: str,
    description: str,
    labels: Sequence[str],
    series: Sequence[Series],
    height: int = 180,
    every: int = 5,
) -> SafeString:
    """A bar a label. The first series is at the bottom; names stand at the right in the order of the stack."""
    totals = [sum(column) for column in zip(*(one.values for one in series), strict=True)]
    steps = ticks(max(totals))
    top = steps[-1]

    def y(value: float) -> float:
        return height - value / top * height

    parts = [_grid(steps, [y(step) for step in steps])]
    band = 100 / len(labels)
    for place, label in enumerate(labels):
        base = 0
        bars = []
        for one in series:
            lower, upper = y(base), y(base + one.values[place])
            base += one.values[place]
            # A pixel of ground between the parts; a part that has tokens never vanishes.
            tall = max(lower - upper - 1, 0.6) if one.values[place] else 0
            bars.append(
                format_html(
                    '<rect class="tp-c{}" x="{}%" width="{}%" y="{}" height="{}"/>',
                    one.slot,
                    f"{place * band + band * 0.14:.2f}",
                    f"{band * 0.72:.2f}",
                    f"{upper:.1f}",
                    f"{tall:.1f}",
                )
            )
        rows = [[_("Total"), short(totals[place])]]
        rows += [[one.name, short(one.values[place])] for one in reversed(series)]
        parts.append(
            format_html(
                '<g data-tip="{}">{}<rect class="tp-hit" x="{}%" width="{}%" y="0" height="{}"/></g>',
                json.dumps([label, *rows], ensure_ascii=False),
                _joined(bars),
                f"{place * band:.2f}",
                f"{band:.2f}",
                height,
            )
        )
    parts.append(_names(series, y, height))
    parts.append(_x_labels(labels, height, every))
    return _svg(uid, "bars", title, description, height, parts)


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
    return _svg(uid, "spark", title, description, height, [body])


def segments(uid: str, *, title: str, description: str, parts: Sequence[Segment], height: int = 28) -> SafeString:
    """One bar cut into parts, each under the letter that keys the table below. The sum must be above 0."""
    total = sum(part.amount for part in parts)
    start = 0.0
    body = [
        format_html(
            '<defs><pattern id="{}-hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
            'patternTransform="rotate(45)"><rect class="tp-hatch-bg" width="6" height="6"/>'
            '<rect class="tp-hatch-fg" width="2" height="6"/></pattern></defs>',
            uid,
        )
    ]
    for part in parts:
        width = part.amount / total * 100
        fill = format_html(' fill="url(#{}-hatch)"', uid) if part.is_hatched else ""
        body.append(
            format_html(
                '<rect class="{}"{} x="{}%" width="{}%" y="0" height="{}" rx="2"/>',
                part.css,
                fill,
                f"{start + 0.1:.2f}",
                f"{max(width - 0.2, 0.3):.2f}",
                height,
            )
        )
        if width > 3 and part.key:
            body.append(
                format_html(
                    '<text class="{}-t tp-seg-key" x="{}%" y="{}" text-anchor="middle">{}</text>',
                    part.css,
                    f"{start + width / 2:.2f}",
                    height // 2 + 4,
                    part.key,
                )
            )
        start += width
    return _svg(uid, "seg", title, description, height, body)


def _svg(uid: str, kind: str, title: str, description: str, height: int, parts: Iterable[SafeString]) -> SafeString:
    return format_html(
        '<svg class="tp-svg tp-svg-{kind}" role="img" aria-labelledby="{uid}-t {uid}-d" width="100%" '
        'height="{height}"><title id="{uid}-t">{title}</title><desc id="{uid}-d">{description}</desc>{body}</svg>',
        kind=kind,
        uid=uid,
        height=height,
        title=title,
        description=description,
        body=_joined(parts),
    )


def _joined(parts: Iterable[SafeString]) -> SafeString:
    return format_html_join("", "{}", ((part,) for part in parts))


def _grid(steps: Sequence[float], heights: Sequence[float]) -> SafeString:
    return _joined(
        format_html(
            '<line class="{}" x1="0" x2="100%" y1="{y}" y2="{y}"/>'
            '<text class="tp-tick" x="-8" y="{}" text-anchor="end">{}</text>',
            "tp-gridline" if step else "tp-zero",
            f"{at + 4:.1f}",
            short(step),
            y=f"{at:.1f}",
        )
        for step, at in zip(steps, heights, strict=True)
    )


def _x_labels(labels: Sequence[str], height: int, every: int) -> SafeString:
    """Every nth label from the end, so that the newest has one; each second of these hides when the chart is narrow."""
    band = 100 / len(labels)
    shown = range(len(labels) - 1, -1, -every)
    return _joined(
        format_html(
            '<text class="tp-tick{}" x="{}%" y="{}" text-anchor="middle">{}</text>',
            " tp-lo" if number % 2 else "",
            f"{(place + 0.5) * band:.2f}",
            height + 18,
            labels[place],
        )
        for number, place in enumerate(shown)
    )


def _names(series: Sequence[Series], y: Callable[[float], float], height: int) -> SafeString:
    """The names beside the last bar, each with a line to its part; moved apart where parts are thin."""
    middles, base = [], 0
    for one in series:
        middles.append(y(base + one.values[-1] / 2))
        base += one.values[-1]
    # Nearest to the axis first: they were stacked in this order.
    places = spread([height - middle for middle in middles], GAP, 4, height - 8)
    return _joined(
        format_html(
            '<g class="tp-direct"><svg x="100%" overflow="visible"><path class="tp-leader" d="M2 {}L10 {at}"/>'
            '<rect class="tp-c{}" x="13" y="{}" width="8" height="8" rx="1"/>'
            '<text class="tp-dlabel" x="26" y="{}">{}</text></svg></g>',
            f"{middle:.1f}",
            one.slot,
            f"{height - place - 4:.1f}",
            f"{height - place + 4:.1f}",
            clipped(one.name, 18),
            at=f"{height - place:.1f}",
        )
        for one, middle, place in zip(series, middles, places, strict=True)
    )


def spread(wanted: Sequence[float], gap: float, least: float, most: float) -> list[float]:
    """Places near the wanted, ascending ones, no two nearer than `gap`, none below `least`; above `most` if need be."""
    placed: list[float] = []
    for value in wanted:
        placed.append(max(value, placed[-1] + gap if placed else least))
    limit = most
    for number in range(len(placed) - 1, -1, -1):
        placed[number] = min(placed[number], limit)
        limit = placed[number] - gap
    shift = max(least - placed[0], 0) if placed else 0
    return [place + shift for place in placed]


def clipped(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"
