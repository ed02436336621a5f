"""Charts as files: SVG that stands alone, PNG and PDF of it, and the numbers as CSV.

On a page a drawing is as wide as its column and takes its colours from the style sheet. A file has neither, so here
the same drawing gets a width and the light colours: per cents become pixels and classes become attributes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

from django_token_pricing.admin.base.charts.chart import Chart, Key
from django_token_pricing.admin.base.charts.parts import clipped
from django_token_pricing.exceptions import ExtraMissing
from django_token_pricing.lib.sheet_writers import CsvWriter

WIDTH = 960
LEFT, RIGHT, DIRECT, TOP, BOTTOM = 60, 24, 160, 76, 34
LETTER = 7
FONT = "Liberation Sans, Helvetica, Arial, sans-serif"

FG, QUIET, HAIRLINE, GROUND, CONTROL, FRAME = "#333", "#666", "#e8e8e8", "#fff", "#8a9094", "#dfe3e6"
CATEGORIES = ["#3391c2", "#4a2a70", "#c07a22", "#1c6650", "#859196", "#8a1f17"]
HEATS = ["#eef4f8", "#cfe3ee", "#a3cbe0", "#6aa9c9", "#2b7aa3", "#174f6e"]
BAND, TRACK = "#d9eaf4", "#e6eaec"
ROUND = {"fill": "none", "stroke-width": "2", "stroke-linejoin": "round", "stroke-linecap": "round"}
# What the style sheet says of these classes; the later ones win.
LOOKS: dict[str, dict[str, str]] = {
    "tp-gridline": {"stroke": HAIRLINE},
    "tp-zero": {"stroke": CONTROL},
    "tp-leader": {"stroke": CONTROL, "fill": "none"},
    "tp-now": {"stroke": CONTROL, "stroke-dasharray": "2 3"},
    "tp-limit": {"stroke": CATEGORIES[5], "stroke-dasharray": "6 3"},
    "tp-tick": {"fill": QUIET},
    "tp-dlabel": {"fill": FG},
    "tp-line": {**ROUND, "stroke": CATEGORIES[0]},
    "tp-thin": {"stroke-width": "1.5"},
    "tp-backtest": {"stroke": CATEGORIES[2], "stroke-dasharray": "2 4", "stroke-width": "2.5"},
    "tp-ahead": {"stroke-dasharray": "6 5"},
    "tp-band": {"fill": BAND, "stroke": CATEGORIES[0], "stroke-opacity": ".45"},
    "tp-area": {"fill": BAND},
    "tp-dot": {"fill": CATEGORIES[0]},
    "tp-track": {"fill": TRACK},
    "tp-hatch-bg": {"fill": TRACK},
    "tp-hatch-fg": {"fill": CONTROL},
    "tp-lot-rest": {"fill": TRACK},
    "tp-seg-key": {"font-weight": "600", "font-size": "12"},
    "tp-peak": {"stroke": FG, "stroke-width": "2"},
    **{f"tp-c{slot}": {"fill": colour} for slot, colour in enumerate(CATEGORIES, 1)},
    **{f"tp-s{slot}": {"stroke": colour} for slot, colour in enumerate(CATEGORIES, 1)},
    **{f"tp-h{step}": {"fill": colour} for step, colour in enumerate(HEATS)},
    **{f"tp-lot{place}": {"fill": HEATS[6 - place]} for place in range(1, 5)},
}
KEPT = {"x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "rx", "width", "height", "d", "text-anchor", "fill", "id"}
KEPT |= {"patternUnits", "patternTransform"}
DROPPED = {"title", "desc"}


def csv(chart: Chart) -> bytes:
    """The numbers of the chart. What a spreadsheet would take for a formula is quoted."""
    file = BytesIO()
    with CsvWriter(chart.table.columns, file) as writer:
        writer.write(chart.table.plain)
    return file.getvalue()


def svg(chart: Chart) -> bytes:
    root = ElementTree.fromstring(chart.svg)  # noqa: S314 - our own drawing
    height = float(root.attrib["height"])
    plot = WIDTH - LEFT - (DIRECT if chart.is_direct else RIGHT)
    legend = [] if chart.is_direct else _legend(chart.keys)
    whole = TOP + height + BOTTOM + (20 * (1 + max(place[1] for place in legend)) if legend else 0)
    file = ElementTree.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "width": str(WIDTH),
            "height": f"{whole:.0f}",
            "viewBox": f"0 0 {WIDTH} {whole:.0f}",
            "font-family": FONT,
            "font-size": "11",
            "role": "img",
        },
    )
    for name in ("title", "desc"):
        ElementTree.SubElement(file, name).text = root.findtext(name)
    ElementTree.SubElement(file, "rect", {"width": "100%", "height": "100%", "fill": GROUND})
    _text(file, LEFT - 44, 26, clipped(chart.title, 90), {"font-size": "16", "fill": FG, "font-weight": "600"})
    _text(file, LEFT - 44, 45, clipped(chart.about, 150), {"font-size": "12", "fill": QUIET})
    drawing = ElementTree.SubElement(file, "g", {"transform": f"translate({LEFT} {TOP})"})
    for child in root:
        _place(child, drawing, plot)
    for key, (x, line) in zip(chart.keys, legend, strict=False):
        _key(file, key, LEFT + x, TOP + height + BOTTOM + 10 + 20 * line)
    content: bytes = ElementTree.tostring(file, encoding="utf-8", xml_declaration=True)
    return content


def png(chart: Chart) -> bytes:
    """Twice as fine as a page. Raises ExtraMissing."""
    return bytes(_renderer().svg_to_png(svg(chart).decode(), scale=2))


def pdf(chart: Chart) -> bytes:
    """Raises ExtraMissing."""
    return bytes(_renderer().svg_to_pdf(svg(chart).decode()))


def has_renderer() -> bool:
    try:
        _renderer()
    except ExtraMissing:
        return False
    return True


def _renderer() -> Any:
    try:
        import vl_convert
    except ImportError:
        raise ExtraMissing(extra="charts") from None
    return vl_convert


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file that a chart can be had as."""

    name: str
    content_type: str
    write: Callable[[Chart], bytes]
    is_extra: bool = False


FORMATS = {
    "svg": Format("SVG", "image/svg+xml", svg),
    "png": Format("PNG", "image/png", png, is_extra=True),
    "pdf": Format("PDF", "application/pdf", pdf, is_extra=True),
    "csv": Format("CSV", "text/csv; charset=utf-8", csv),
}


# A drawing of a page as a drawing of so many pixels -------------------------------------------------------------------


def _place(source: ElementTree.Element, into: ElementTree.Element, width: float) -> None:
    classes = source.get("class", "").split()
    if source.tag in DROPPED or "tp-hit" in classes:
        return
    if source.tag == "svg":
        _nested(source, into, width)
        return
    made = ElementTree.SubElement(into, source.tag, _attributes(source, classes, width))
    made.text = source.text
    for child in source:
        _place(child, made, width)


def _nested(source: ElementTree.Element, into: ElementTree.Element, width: float) -> None:
    """Lines, whose x is in thousandths of the width, and names, which stand at its end."""
    is_stretched = "viewBox" in source.attrib
    shift = {} if is_stretched else {"transform": f"translate({width:.1f} 0)"}
    group = ElementTree.SubElement(into, "g", shift)
    for child in source:
        _place(child, group, width)
    for path in group.iter("path") if is_stretched else ():
        path.set("d", re.sub(r"([ML])([\d.]+) ", lambda found: _stretched(found, width), path.get("d", "")))


def _stretched(found: re.Match[str], width: float) -> str:
    return f"{found[1]}{float(found[2]) * width / 1000:.1f} "


def _attributes(source: ElementTree.Element, classes: list[str], width: float) -> dict[str, str]:
    made: dict[str, str] = {}
    for name in LOOKS:
        if name in classes:
            made |= LOOKS[name]
    for name, value in source.attrib.items():
        if name in KEPT:
            made[name] = f"{float(value[:-1]) * width / 100:.2f}" if value.endswith("%") else value
    if source.tag == "path" and not made.get("d"):
        made["d"] = "M0 0"
    return made


def _text(into: ElementTree.Element, x: float, y: float, text: str, look: dict[str, str]) -> None:
    ElementTree.SubElement(into, "text", {"x": f"{x:.0f}", "y": f"{y:.0f}", **look}).text = text


def _legend(keys: Any) -> list[tuple[float, int]]:
    """Where each key stands: so far from the left, in this line."""
    found, x, line = [], 0.0, 0
    for key in keys:
        width = 34 + LETTER * len(clipped(key.name, 40))
        if x and x + width > WIDTH - LEFT - RIGHT:
            x, line = 0.0, line + 1
        found.append((x, line))
        x += width
    return found


def _key(into: ElementTree.Element, key: Key, x: float, y: float) -> None:
    look: dict[str, str] = {}
    for name in LOOKS:
        if name in key.css.split():
            look |= LOOKS[name]
    if key.is_line:
        ElementTree.SubElement(into, "path", {"d": f"M{x:.1f} {y - 4:.1f}L{x + 18:.1f} {y - 4:.1f}", **look})
    else:
        box = {"x": f"{x + 4:.1f}", "y": f"{y - 9:.1f}", "width": "10", "height": "10", "rx": "1"}
        ElementTree.SubElement(into, "rect", {**box, **look})
    _text(into, x + 23, y, clipped(key.name, 40), {"fill": QUIET})
