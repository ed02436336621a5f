"""Charts are well-formed, named and escaped, at every size of their numbers."""

from __future__ import annotations

import json
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from django.utils.safestring import SafeString

from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.charts import Segment, Series

EVIL = "<b>\"&'|="


def parsed(svg: SafeString) -> ElementTree.Element:
    assert isinstance(svg, SafeString)
    return ElementTree.fromstring(svg)  # noqa: S314 - our own drawing


def bars(*series: Series, days: int = 3) -> ElementTree.Element:
    labels = [f"{day} Nov {EVIL}" for day in range(days)]
    return parsed(charts.stacked_bars("u", title=EVIL, description="d", labels=labels, series=series))


@pytest.mark.parametrize(
    "svg",
    [
        charts.stacked_bars("a", title=EVIL, description=EVIL, labels=[EVIL], series=[Series(EVIL, [1], 1)]),
        charts.sparkline("b", title=EVIL, values=[1]),
        charts.sparkline("b", title=EVIL, values=[0, 0, 0]),
        charts.segments("c", title=EVIL, description=EVIL, parts=[Segment(EVIL, 9, "tp-lot1", is_hatched=True)]),
    ],
)
def test_a_chart_is_an_image_with_name_and_description_and_without_style(svg: SafeString) -> None:
    root = parsed(svg)
    assert root.get("role") == "img"
    title, description = root.findall("title") + root.findall("desc")
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert title.text == EVIL
    assert not [element for element in root.iter() if "style" in element.attrib or "onclick" in element.attrib]
    assert EVIL not in svg


def test_tooltips_carry_their_texts_unharmed() -> None:
    root = bars(Series("a|b=c", [1, 2, 3], 1), Series(EVIL, [10, 20, 30], 2))
    tips = [json.loads(group.attrib["data-tip"]) for group in root.iter("g") if "data-tip" in group.attrib]
    assert tips[1] == [f"1 Nov {EVIL}", ["Total", "22"], [EVIL, "20"], ["a|b=c", "2"]]


def test_parts_stack_up_to_the_total() -> None:
    root = bars(Series("a", [0, 50, 100], 1), Series("b", [0, 50, 100], 2))
    drawn = [
        element
        for element in root.iter("rect")
        if element.get("class") in ("tp-c1", "tp-c2") and element.get("x", "").endswith("%")
    ]
    heights = [float(element.attrib["height"]) for element in drawn]
    assert heights[0] == heights[1] == 0
    assert heights[4] == pytest.approx(2 * heights[2], abs=2)
    assert all(float(element.attrib["y"]) >= 0 for element in drawn)


def test_what_is_used_at_all_can_be_seen() -> None:
    root = bars(Series("much", [10**15] * 3, 1), Series("little", [1] * 3, 2))
    assert all(float(element.attrib["height"]) > 0 for element in root.iter("rect") if element.get("class") == "tp-c2")


@pytest.mark.parametrize("top", [0, 1, 3, 4, 7, 99, 1_000, 76_301, 10**9, 2**63 - 1, 10**20])
def test_ticks_are_few_round_and_reach_the_top(top: int) -> None:
    steps = charts.ticks(top)
    assert steps[0] == 0
    assert steps[-1] >= top * 0.999999
    assert 2 <= len(steps) <= 7
    assert all(step == int(step) for step in steps)


@pytest.mark.parametrize("wanted", [[0, 0, 0, 0], [100, 100, 100], [3, 50, 51, 52, 99], [], [170, 171]])
def test_names_are_moved_apart(wanted: list[float]) -> None:
    places = charts.spread(wanted, 15, 4, 172)
    assert all(later - earlier >= 15 - 1e-9 for earlier, later in pairwise(places))
    assert all(place >= 4 for place in places)


def test_a_bar_is_as_wide_as_its_parts() -> None:
    parts = [Segment("A", 1, "tp-lot1"), Segment("B", 3, "tp-lot2"), Segment("", 10**6, "tp-lot-rest")]
    root = parsed(charts.segments("c", title="t", description="d", parts=parts))
    widths = [float(element.attrib["width"].rstrip("%")) for element in root.iter("rect") if element.get("y") == "0"]
    assert widths[0] >= 0.3
    assert sum(widths) == pytest.approx(100, abs=1)
