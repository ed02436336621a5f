"""Bars: stacked ones over time, one bar cut into parts, and the small bar of a share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.utils.html import format_html
from django.utils.safestring import SafeString

from django_token_pricing.admin.base.charts import parts as draw
from django_token_pricing.admin.base.charts.parts import TOKENS, Scale, Series


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar: its letter in the table below (or none), its size, its class, and whether it is hatched."""

    key: str
    amount: int
    css: str
    is_hatched: bool = False


def stacked_bars(
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
    """A bar a label. The first series is at the bottom; names stand at the right in the order of the stack.

    `marks` are words over bars, by place; `tips` are the headings of tooltips, where labels are too short for that.
    A column in which all values are None is left empty.
    """
    count = len(labels)
    totals = [draw.in_total(one.values[place] for one in series) for place in range(count)]
    steps = draw.ticks(max((float(total) for total in totals if total is not None), default=0), scale=scale)
    top = steps[-1]

    def tall(value: float) -> float:
        return max(value, 0) / top * height

    parts = [draw.grid(steps, lambda value: height - tall(value), scale)]
    band = 100 / count
    for place, label in enumerate(labels):
        base = 0.0
        bars = []
        for number, one in enumerate(series):
            size = tall(float(one.values[place] or 0))
            base += size
            bars.append(
                format_html(
                    '<rect class="tp-c{}" data-s="{}" data-h="{}" x="{}%" width="{}%" y="{}" height="{}"/>',
                    one.slot,
                    number,
                    f"{size:.2f}",
                    f"{place * band + band * 0.14:.2f}",
                    f"{band * 0.72:.2f}",
                    f"{height - base:.1f}",
                    # A pixel of ground between the parts; a part that has tokens never vanishes.
                    f"{max(size - 1, 0.6) if one.values[place] else 0:.1f}",
                )
            )
        parts.append(
            format_html(
                '<g data-tip="{}">{}{}</g>',
                draw.tip(tips[place] if tips else label, draw.listed(series, place, scale, totals[place])),
                draw.joined(bars),
                draw.hit(place, count, height),
            )
        )
    places = draw.middles(count)
    for place, text in (marks or {}).items():
        parts.append(draw.note(text, places[place], height - tall(float(totals[place] or 0)) - 6))
    heights, base = [], 0.0
    for one in series:
        size = tall(float(one.values[-1] or 0))
        heights.append(height - base - size / 2)
        base += size
    parts.append(draw.names(series, heights, height))
    parts.append(draw.x_labels(labels, places, height, every))
    return draw.framed(uid, "bars", title, description, height, parts, columns=count)


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
    return draw.framed(uid, "seg", title, description, height, body)


def share_bar(share: float, *, css: str = "tp-c1", height: int = 6) -> SafeString:
    """A share of 1 beside its number: decoration, which screen readers pass over."""
    return format_html(
        '<svg class="tp-share" aria-hidden="true" width="100%" height="{h}"><rect class="tp-track" width="100%" '
        'height="{h}" rx="2"/><rect class="{css}" width="{w}%" height="{h}" rx="2"/></svg>',
        h=height,
        css=css,
        w=f"{min(max(share, 0), 1) * 100:.1f}",
    )
