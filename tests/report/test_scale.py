"""Places and round numbers against hand values."""

from __future__ import annotations

import pytest

from mftcoder.report.scale import Scale, label, spanning, ticks


def test_a_straight_axis_puts_values_in_proportion() -> None:
    scale = Scale(2.0, 4.0, 100.0, 0.0)
    assert [scale.at(v) for v in (2.0, 2.5, 4.0)] == [100.0, 75.0, 0.0]


def test_a_logarithmic_axis_puts_ratios_in_proportion() -> None:
    scale = Scale(1e-4, 1e-2, 0.0, 200.0, logarithmic=True)
    assert [scale.at(v) for v in (1e-4, 1e-3, 1e-2)] == [0.0, 100.0, 200.0]


def test_all_values_are_on_the_axis_and_one_alone_has_room_on_both_sides() -> None:
    assert spanning([3.0, 1.0], 0, 1, margin=0.0) == Scale(1.0, 3.0, 0, 1)
    assert spanning([3.0, 1.0], 0, 1, margin=0.5) == Scale(0.0, 4.0, 0, 1)
    assert spanning([-2.0], 0, 1, margin=0.0) == Scale(-2.2, -1.8, 0, 1)
    assert spanning([0.0], 0, 1, margin=0.0) == Scale(-1.0, 1.0, 0, 1)
    assert spanning([0.2, 0.2 + 1e-17, 0.20000000000000004], 0, 1, margin=0.0).high > 0.21


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 40, [0, 10, 20, 30, 40]),
        (0.13, 1.02, [0.2, 0.4, 0.6, 0.8, 1.0]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (1e-5, 2e-4, [5e-5, 1e-4, 1.5e-4, 2e-4]),
    ],
)
def test_ticks_are_round_and_inside(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high, 5) == pytest.approx(expected)


def test_ticks_of_steps_are_whole() -> None:
    assert ticks(1.0, 3.0, 6, least=1) == [1.0, 2.0, 3.0]
    assert ticks(0.0, 60.0, 6, least=1) == [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]


def test_labels_are_short() -> None:
    assert [label(v) for v in (0.0, 0.0002, 1234.5, 12_340.0, 3.2e9)] == ["0", "0.0002", "1234", "12.34k", "3.2G"]
