"""Lines, forecasts, heat maps and files of charts, at the edges of what they may be given."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import pytest
from django.utils.safestring import SafeString

from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.charts import Chart, Row, Scale, Series, Table

EVIL = "<b>\"&'|=" * 60  # more than 500 letters
MONEY = Scale(lambda value: f"${value:g}", is_whole=False)


def parsed(svg: SafeString) -> ElementTree.Element:
    assert isinstance(svg, SafeString)
    return ElementTree.fromstring(svg)  # noqa: S314 - our own drawing


def tips(root: ElementTree.Element) -> list[Any]:
    return [json.loads(group.attrib["data-tip"]) for group in root.iter("g") if "data-tip" in group.attrib]


def bars(*values: Any, **given: Any) -> SafeString:
    labels = [EVIL] * len(values[0])
    series = [Series(EVIL, one, slot) for slot, one in enumerate(values, 1)]
    return charts.stacked_bars("u", title=EVIL, description=EVIL, labels=labels, series=series, **given)


def lines(*values: Any, **given: Any) -> SafeString:
    labels = [EVIL] * len(values[0])
    series = [Series(EVIL, one, slot) for slot, one in enumerate(values, 1)]
    return charts.lines("u", title=EVIL, description=EVIL, labels=labels, series=series, **given)


def forecast(measured: Any, ahead: Any, back_test: Any = (), **given: Any) -> SafeString:
    return charts.forecast(
        "u",
        title=EVIL,
        description=EVIL,
        labels=[EVIL] * (len(measured) + len(ahead)),
        measured=measured,
        back_test=back_test,
        ahead=ahead,
        low=[value * 0.8 for value in ahead],
        high=[value * 1.2 for value in ahead],
        **given,
    )


def heat(grid: Any) -> SafeString:
    names = [EVIL] * len(grid)
    return charts.heat_map(
        "u", title=EVIL, description=EVIL, rows=names, columns=[EVIL] * len(grid[0]), grid=grid, measure=EVIL
    )


@pytest.mark.parametrize(
    "svg",
    [
        bars([0, 0, 0]),
        bars([1]),
        bars([None, None]),
        bars([None, 3, 0], [1, None, 2**63], marks={1: EVIL}, tips=["a", "b", "c"]),
        bars([Decimal("0.000001"), Decimal("0.2")], scale=MONEY),
        bars(*([[1, 2]] * 6)),
        lines([0, 0]),
        lines([5]),
        lines([None, None]),
        lines([1, None, 3, None], [-5, 4, None, None], marks={0: EVIL}),
        lines([Decimal("-0.0001"), 0.00002], scale=MONEY),
        forecast([1, None, 3], [4, 5], [2]),
        forecast([], [4, 5]),
        forecast([1], []),
        forecast([None], [0, 0]),
        forecast([0, 0], [0, 0], [0], limit=(0, EVIL)),
        heat([[0, 0], [0, 0]]),
        heat([[1]]),
        heat([[0, 1], [10**18, 5]]),
        charts.share_bar(7),
        charts.share_bar(-1),
    ],
)
def test_every_drawing_is_well_formed_and_has_neither_style_nor_script(svg: SafeString) -> None:
    root = parsed(svg)
    assert not [element for element in root.iter() if "style" in element.attrib or "onclick" in element.attrib]
    assert EVIL not in svg
    assert "nan" not in svg
    for element in root.iter("rect"):
        assert float(element.get("height", "0").rstrip("%")) >= 0


def test_a_gap_is_no_zero() -> None:
    root = parsed(bars([None, 0, 5]))
    assert [tip[1][1] for tip in tips(root)] == ["—", "0", "5"]


def test_a_line_is_broken_at_a_gap_and_a_lone_point_is_a_dot() -> None:
    root = parsed(lines([1, 2, None, 4, None, 5, 6]))
    (path,) = [element for element in root.iter("path") if "tp-line" in element.get("class", "")]
    assert path.attrib["d"].count("M") == 2
    assert len(list(root.iter("circle"))) == 1


def test_the_axis_goes_below_zero_where_values_do() -> None:
    texts = [element.text for element in parsed(lines([-5, 5])).iter("text")]
    assert any(text and text.startswith("−") for text in texts)


def test_bars_hold_their_heights_for_being_stacked_anew() -> None:
    root = parsed(bars([10, 20], [10, 0], height=100))
    found = [(element.get("data-s"), float(element.get("data-h", "-1"))) for element in root.iter("rect")]
    assert [pair for pair in found if pair[0]] == [("0", 50), ("1", 50), ("0", 100), ("1", 0)]


def test_a_forecast_tells_measured_days_from_those_to_come() -> None:
    found = tips(parsed(forecast([1_000, 2_000], [3_000], [1_500], interval="90% interval")))
    assert [row[0] for row in found[0][1:]] == ["Measured"]
    assert found[1][1:] == [["Measured", "2k"], ["Back-test", "1.5k"]]
    assert found[2][1:] == [["Forecast", "3k"], ["90% interval", "2.4k–3.6k"]]


def test_the_busiest_cell_alone_has_a_ring() -> None:
    root = parsed(heat([[1, 2], [9, 9]]))
    ringed = [element for element in root.iter("rect") if "tp-peak" in element.get("class", "")]
    assert len(ringed) == 1
    assert charts.peak([[1, 2], [9, 9]]) == (1, 0)
    assert charts.peak([[0, 0]]) is None
    assert charts.peak([]) is None


def test_what_is_used_at_all_has_a_shade() -> None:
    classes = [element.get("class") for element in parsed(heat([[0, 1, 10**9]])).iter("rect")]
    assert classes == ["tp-h0", "tp-h1", "tp-h5 tp-peak"]


@pytest.mark.parametrize("top", [0, 0.0000001, 0.003, 0.9, 7.5, 10**12])
def test_ticks_of_money_are_few_and_reach_the_top(top: float) -> None:
    steps = charts.ticks(top, scale=MONEY)
    assert steps[0] == 0
    assert steps[-1] >= top * 0.999999
    assert 2 <= len(steps) <= 7


def chart(svg: SafeString, **given: Any) -> Chart:
    table = Table(["Day", EVIL], [Row("1 Nov", "2026-11-01", [None]), Row("2 Nov", "2026-11-02", [Decimal("1.50")])])
    return Chart(EVIL, EVIL, svg, table, **given)


@pytest.mark.parametrize(
    "made",
    [
        chart(bars([1, None], [3, 4]), is_direct=True),
        chart(forecast([1, 2], [3, 4], [2]), keys=charts.forecast_keys()),
        chart(heat([[0, 1], [2, 3]]), kind="heat"),
        chart(lines([1, None, 4]), keys=[charts.Key(EVIL, "tp-c1")] * 40),
    ],
)
def test_a_file_has_a_size_and_its_own_colours(made: Chart) -> None:
    root = ElementTree.fromstring(charts.files.svg(made))  # noqa: S314 - our own drawing
    assert root.attrib["width"] == "960"
    assert float(root.attrib["height"]) > 100
    for element in root.iter():
        assert "class" not in element.attrib
        for name, value in element.attrib.items():
            assert not value.endswith("%") or element.attrib.get("fill") == "#fff", (name, value)


def test_pictures_are_made_of_the_file() -> None:
    pytest.importorskip("vl_convert")
    made = chart(bars([1, None], [3, 4]))
    assert charts.files.png(made).startswith(b"\x89PNG")
    assert charts.files.pdf(made).startswith(b"%PDF")


def test_the_table_keeps_gaps_and_digits() -> None:
    made = chart(bars([1, 2]))
    assert [cells for _name, cells in made.table.shown] == [["—"], ["1.50"]]
    assert charts.files.csv(made).decode("utf-8-sig").splitlines()[1:] == ["2026-11-01,", "2026-11-02,1.50"]
