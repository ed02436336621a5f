"""Amounts as shades of one hue, in rows and columns, such as weekdays and hours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from django_token_pricing.admin.base.charts import parts as draw
from django_token_pricing.admin.base.charts.parts import TOKENS, Number, Scale

STEPS = 5


def peak(grid: Sequence[Sequence[Number]]) -> tuple[int, int] | None:
    """The first of the busiest cells as (row, column); None where all are empty."""
    cells = [(row, column) for row in range(len(grid)) for column in range(len(grid[row]))]
    found = max(cells, key=lambda cell: (grid[cell[0]][cell[1]], -cell[0], -cell[1]), default=None)
    return found if found and grid[found[0]][found[1]] > 0 else None


def heat_map(
    uid: str,
    *,
    title: str,
    description: str,
    rows: Sequence[str],
    columns: Sequence[str],
    grid: Sequence[Sequence[Number]],
    cell: int = 22,
    every: int = 3,
    named: Callable[[int, int], str] | None = None,
    measure: str = "",
    scale: Scale = TOKENS,
) -> SafeString:
    """A cell for each row and column. What is not nothing has a shade; the busiest cell has a ring, so that the message
    does not need the shade. `named` gives the heading of a cell's tooltip, `measure` what its number counts.
    """
    busiest = peak(grid)
    top = float(grid[busiest[0]][busiest[1]]) if busiest else 0.0
    width = 100 / len(columns)
    height = len(rows) * cell
    parts = []
    for row, label in enumerate(rows):
        parts.append(
            format_html(
                '<text class="tp-tick" x="-8" y="{}" text-anchor="end">{}</text>',
                f"{row * cell + cell / 2 + 4:.0f}",
                draw.clipped(label, draw.LONGEST_NAME),
            )
        )
        for column, value in enumerate(grid[row]):
            heading = named(row, column) if named else f"{label} {columns[column]}"
            parts.append(
                format_html(
                    '<g data-tip="{}"><rect class="tp-h{}{}" x="{}%" width="{}%" y="{}" height="{}" rx="2"/></g>',
                    draw.tip(heading, [[measure or _("Tokens"), scale.told(value)]]),
                    shade(float(value), top),
                    " tp-peak" if (row, column) == busiest else "",
                    f"{column * width + 0.12:.2f}",
                    f"{width - 0.24:.2f}",
                    row * cell + 1,
                    cell - 2,
                )
            )
    parts.extend(
        format_html(
            '<text class="tp-tick{}" x="{}%" y="{}" text-anchor="middle">{}</text>',
            " tp-lo" if column // every % 2 else "",
            f"{(column + 0.5) * width:.2f}",
            height + 16,
            columns[column],
        )
        for column in range(0, len(columns), every)
    )
    return draw.framed(uid, "heat", title, description, height, parts, columns=len(columns))


def shade(value: float, top: float) -> int:
    """From 0 for nothing to 5 for the most."""
    return min(STEPS, max(1, math.ceil(value / top * STEPS))) if value > 0 and top > 0 else 0
