"""SVG charts drawn on the server.

The drawing is the plot alone: it is 100% wide, x is in per cent and y in pixels, so a chart fills any column without
a script and its type never shrinks. Axis labels hang outside of it in padding that the style sheet reserves. Lines
live in a nested <svg> whose view box stretches while strokes do not. Colours are classes, which the style sheet fills
for light and dark; there is no style attribute and no script. Every text is escaped by `format_html`.

`Chart` joins a drawing with its keys and its table; `files` makes SVG, PNG, PDF and CSV of it.
"""

from django_token_pricing.admin.base.charts import files
from django_token_pricing.admin.base.charts.bars import Segment, segments, share_bar, stacked_bars
from django_token_pricing.admin.base.charts.chart import Chart, Key, Row, Table, forecast_keys, keys_of
from django_token_pricing.admin.base.charts.heat import heat_map, peak
from django_token_pricing.admin.base.charts.lines import forecast, lines, sparkline
from django_token_pricing.admin.base.charts.parts import TOKENS, Scale, Series, clipped, every, spread, ticks

__all__ = [
    "TOKENS",
    "Chart",
    "Key",
    "Row",
    "Scale",
    "Segment",
    "Series",
    "Table",
    "clipped",
    "every",
    "files",
    "forecast",
    "forecast_keys",
    "heat_map",
    "keys_of",
    "lines",
    "peak",
    "segments",
    "share_bar",
    "sparkline",
    "spread",
    "stacked_bars",
    "ticks",
]
