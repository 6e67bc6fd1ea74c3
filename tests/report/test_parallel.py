"""Each job crosses each axis at its value."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from mftcoder.report.parallel import Axis, parallel

TOP, FLOOR = 40.0, 276.0


def heights(figure: str) -> dict[str, list[float]]:
    """For each job the heights at which it crosses the axes, from the top of the paper."""
    root = ElementTree.fromstring(figure)
    paths = [path for path in root.iter("path") if path.get("class") == "job"]
    return {
        path.findtext("title") or "": [float(y) for y in re.findall(r",([\d.]+)", path.get("d") or "")]
        for path in paths
    }


def test_numbers_words_and_ratios_have_their_places() -> None:
    axes = [
        Axis("lr", [1e-4, 1e-3, 1e-2]),
        Axis("balancer", ["equal", "coba", "equal"]),
        Axis("mean", [1.0, 1.5, 2.0]),
    ]
    middle = (TOP + FLOOR) / 2
    assert heights(parallel(axes, ["a", "b", "c"])) == {
        "a": [FLOOR, FLOOR, FLOOR],
        "b": [middle, TOP, middle],
        "c": [TOP, FLOOR, TOP],
    }


def test_numbers_among_words_are_words_and_a_missing_value_is_passed_by() -> None:
    axes = [Axis("window", [None, 5.0, "none"]), Axis("mean", [1.0, 2.0, 3.0])]
    found = heights(parallel(axes, ["a", "b & c", "d"]))
    assert [len(found[job]) for job in ("a", "b & c", "d")] == [1, 2, 2]
    assert found["b & c"][0] == FLOOR
    assert found["d"][0] == TOP


def test_the_best_job_is_drawn_last_and_strongest() -> None:
    figure = parallel([Axis("a", [1.0, 2.0]), Axis("b", [1.0, 2.0])], ["best", "worst"])
    assert list(heights(figure)) == ["worst", "best"]
    assert re.findall(r"--c:var\(--c(\d)\);--share:([\d.]+)", figure) == [("1", "0.000"), ("0", "1.000")]


def test_numbers_that_would_run_into_each_other_are_left_out() -> None:
    figure = parallel([Axis("a", [1.0, 1.01, 2.0]), Axis("b", [1.0, 2.0, 3.0])], ["x", "y", "z"])
    assert re.findall(r">([\d.]+)</text>", figure) == ["1", "2", "1", "3", "2"]


def test_one_axis_or_no_job_is_no_comparison() -> None:
    assert parallel([Axis("a", [1.0])], ["a"]) == ""
    assert parallel([Axis("a", []), Axis("b", [])], []) == ""
