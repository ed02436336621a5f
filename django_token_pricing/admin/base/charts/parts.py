"""What all charts are drawn of: axis, labels, names beside the plot, and the frame."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from django_token_pricing.admin.base.wording import NOTHING, short

GAP = 15
LONGEST_NAME = 18

Number: TypeAlias = int | float | Decimal
# None is a gap: nothing is known of the place, which is not the same as zero.
Values: TypeAlias = Sequence[Number | None]


@dataclass(frozen=True, slots=True)
class Series:
    """One category; `slot` is its colour, 1 to 6, which stays with the category on every page."""

    name: str
    values: Values
    slot: int

    @property
    def css(self) -> str:
        return f"tp-c{self.slot}"


@dataclass(frozen=True, slots=True)
class Scale:
    """How numbers of an axis and of its tooltips are written, and whether its steps are whole."""

    words: Callable[[float], str] = short
    is_whole: bool = True

    def told(self, value: Number | None) -> str:
        return NOTHING if value is None else self.words(float(value))


TOKENS = Scale()


def ticks(top: float, count: int = 4, *, scale: Scale = TOKENS) -> list[float]:
    """Round steps (1, 2, 2.5, 5 × 10ⁿ) from zero up to `top` or just above it; whole ones, as tokens are."""
    least = 1 if scale.is_whole else 1e-6
    raw = max(top, count * least) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= raw * (1 - 1e-9))
    if scale.is_whole:
        step = math.ceil(step) if step < 10 else step
    return [step * number for number in range(math.ceil(max(top, least) / step - 1e-9) + 1)]


def axis(low: float, high: float, *, scale: Scale = TOKENS) -> list[float]:
    """Steps from below `low` to above `high`, through zero."""
    if low >= 0:
        return ticks(high, scale=scale)
    step = ticks(max(high, -low), scale=scale)[1]
    first, last = math.floor(low / step), math.ceil(max(high, 0) / step)
    return [step * number for number in range(first, last + 1)]


def every(count: int, most: int = 7) -> int:
    """Each which of so many labels has room under a chart."""
    return max(1, math.ceil(count / most))


def tip(heading: str, rows: Iterable[Sequence[str]]) -> str:
    """What the tooltip over a mark says: the heading, then names and values."""
    return json.dumps([heading, *(list(row) for row in rows)], ensure_ascii=False)


def framed(
    uid: str,
    kind: str,
    title: str,
    description: str,
    height: float,
    parts: Iterable[SafeString],
    *,
    columns: int = 0,
) -> SafeString:
    """The drawing with its name and its message. `columns` says how many marks a row has that arrows move over."""
    return format_html(
        '<svg class="tp-svg tp-svg-{kind}" role="img" aria-labelledby="{uid}-t {uid}-d" width="100%" '
        'height="{height}"{columns}><title id="{uid}-t">{title}</title><desc id="{uid}-d">{description}</desc>'
        "{body}</svg>",
        kind=kind,
        uid=uid,
        height=height,
        columns=format_html(' data-columns="{}"', columns) if columns else "",
        title=title,
        description=description,
        body=joined(parts),
    )


def joined(parts: Iterable[SafeString]) -> SafeString:
    return format_html_join("", "{}", ((part,) for part in parts))


def grid(steps: Sequence[float], y: Callable[[float], float], scale: Scale = TOKENS) -> SafeString:
    return joined(
        format_html(
            '<line class="{}" x1="0" x2="100%" y1="{at}" y2="{at}"/>'
            '<text class="tp-tick" x="-8" y="{}" text-anchor="end">{}</text>',
            "tp-gridline" if step else "tp-zero",
            f"{y(step) + 4:.1f}",
            scale.words(step),
            at=f"{y(step):.1f}",
        )
        for step in steps
    )


def x_labels(labels: Sequence[str], places: Sequence[float], height: float, step: int) -> SafeString:
    """Every nth label from the end, so that the newest has one; each second of these hides when the chart is narrow."""
    shown = range(len(labels) - 1, -1, -step)
    return joined(
        format_html(
            '<text class="tp-tick{}" x="{}%" y="{}" text-anchor="middle">{}</text>',
            " tp-lo" if number % 2 else "",
            f"{places[place]:.2f}",
            height + 18,
            clipped(labels[place], LONGEST_NAME),
        )
        for number, place in enumerate(shown)
    )


def middles(count: int) -> list[float]:
    """In per cent, where the columns of a chart have their middles."""
    return [(place + 0.5) * 100 / count for place in range(count)]


def hit(place: int, count: int, height: float) -> SafeString:
    """The invisible column that the pointer meets."""
    return format_html(
        '<rect class="tp-hit" x="{}%" width="{}%" y="0" height="{}"/>',
        f"{place * 100 / count:.2f}",
        f"{100 / count:.2f}",
        height,
    )


def note(text: str, x: float, y: float) -> SafeString:
    """A word over a mark. At the edges it stands inwards."""
    anchor = "start" if x < 6 else "end" if x > 94 else "middle"
    return format_html(
        '<text class="tp-dlabel" x="{}%" y="{}" text-anchor="{}">{}</text>',
        f"{x:.2f}",
        f"{max(y, -4):.1f}",
        anchor,
        clipped(text, LONGEST_NAME),
    )


def names(series: Sequence[Series], heights: Sequence[float], height: float) -> SafeString:
    """The names beside the last marks, each with a line to its own; moved apart where these are near each other."""
    order = sorted(range(len(series)), key=lambda place: -heights[place])
    # Nearest to the axis first.
    found = spread([height - heights[place] for place in order], GAP, 4, height - 8)
    at = dict(zip(order, found, strict=True))
    return joined(
        format_html(
            '<g class="tp-direct" data-s="{}"><svg x="100%" overflow="visible"><path class="tp-leader" d="M2 {}L10 '
            '{at}"/><rect class="tp-c{}" x="13" y="{}" width="8" height="8" rx="1"/>'
            '<text class="tp-dlabel" x="26" y="{}">{}</text></svg></g>',
            place,
            f"{heights[place]:.1f}",
            one.slot,
            f"{height - at[place] - 4:.1f}",
            f"{height - at[place] + 4:.1f}",
            clipped(one.name, LONGEST_NAME),
            at=f"{height - at[place]:.1f}",
        )
        for place, one in enumerate(series)
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


def in_total(values: Iterable[Number | None]) -> Number | None:
    """The sum of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    # Of decimals and floats there is no sum.
    return None if not known else sum(float(value) if isinstance(value, Decimal) else value for value in known)


def listed(series: Sequence[Series], place: int, scale: Scale, total: Number | None) -> list[list[str]]:
    """The tooltip of a column: the total, then the series in the order of the stack from the top."""
    rows = [[_("Total"), scale.told(total)]]
    return rows + [[one.name, scale.told(one.values[place])] for one in reversed(series)]
