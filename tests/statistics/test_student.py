"""Student's t against its tables, and Holm's correction."""

from __future__ import annotations

import pytest

from mftcoder.statistics.student import holm, interval, probability, quantile, within


@pytest.mark.parametrize(
    ("freedom", "t"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (10, 2.228), (30, 2.042)],
)
def test_the_quantiles_are_those_of_the_tables(freedom: int, t: float) -> None:
    assert quantile(freedom) == pytest.approx(t, abs=5e-4)
    assert within(t, freedom) == pytest.approx(0.95, abs=1e-4)


def test_an_interval_and_its_test_agree() -> None:
    values = [-0.02, -0.03, -0.01]
    low, high = interval(values)
    assert (low, high) == pytest.approx((-0.02 - 4.3027 * 0.01 / 3**0.5, -0.02 + 4.3027 * 0.01 / 3**0.5), abs=1e-5)
    assert (probability(values) < 0.05) is (high < 0)
    assert probability([0.1, -0.1]) == pytest.approx(1.0)
    assert (probability([0.0, 0.0]), probability([0.5, 0.5])) == (1.0, 0.0)


def test_holm_lets_stand_what_is_small_enough_for_its_rank() -> None:
    assert holm([0.01, 0.04, 0.03]) == [True, False, False]
    assert holm([0.01, 0.02, 0.04]) == [True, True, True]
    assert holm([]) == []
