"""What a chart shows is what the series hold."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any
from xml.etree import ElementTree

import pytest

from mftcoder.report.chart import Series, line_chart


def drawn(figure: str) -> list[dict[str, Any]]:
    """The data behind a chart, read as the script on the page reads it."""
    match = re.search(r'data-series="([^"]*)"', figure)
    assert match is not None
    return json.loads(unescape(match[1]))  # type: ignore[no-any-return]


def test_the_line_goes_from_corner_to_corner_of_its_values() -> None:
    figure = line_chart("loss", [Series("code", [(0, 1.0), (5, 1.5), (10, 2.0)], 3)])
    path = re.search(r'd="M([^"]*)"', figure)
    assert path is not None
    places = [tuple(map(float, place.split(","))) for place in path[1].split("L")]
    assert [x for x, _ in places] == [56.0, 302.0, 548.0]
    ys = [y for _, y in places]
    assert ys[0] > ys[1] > ys[2]
    assert ys[1] == pytest.approx((ys[0] + ys[2]) / 2, abs=0.1)
    assert drawn(figure) == [{"name": "code", "colour": 3, "points": [[0, 1.0], [5, 1.5], [10, 2.0]]}]


def test_it_is_well_formed_whatever_the_names_are() -> None:
    figure = line_chart("a < b & c", [Series('"><script>', [(0, 1.0), (1, 2.0)], 0), Series("one", [(0, 1.0)], 11)])
    root = ElementTree.fromstring(figure)
    assert [element.text for element in root.iter("figcaption")] == ["a < b & c"]
    assert [element.text for element in root.iter("span")] == ['"><script>', "one"]
    assert len(list(root.iter("circle"))) == 1
    assert not list(root.iter("script"))


def test_many_points_are_averaged_so_that_the_page_stays_small() -> None:
    points = [(float(step), float(step % 2)) for step in range(4000)]
    (line,) = drawn(line_chart("loss", [Series("code", points, 0)]))
    assert len(line["points"]) == 400
    assert {value for _, value in line["points"]} == {0.5}
    assert line["points"][0][0] == 4.5


def test_without_points_there_is_no_chart_and_a_series_without_any_is_left_out() -> None:
    assert line_chart("loss", [Series("code", [], 0)]) == ""
    assert [line["name"] for line in drawn(line_chart("x", [Series("a", [], 0), Series("b", [(1, 2)], 1)]))] == ["b"]
