"""Lengths in steps and as fractions of a run."""

import pytest

from mftcoder.core.lengths import in_steps, length_fault


@pytest.mark.parametrize(
    ("length", "least", "steps"),
    [(7, 1, 7), (0.05, 1, 10), (0.001, 1, 1), (0.001, 0, 0), (None, 1, None), (500, 1, 500)],
)
def test_a_fraction_is_of_the_run(length, least, steps):
    assert in_steps(length, 200, least=least) == steps


@pytest.mark.parametrize("length", [0, -1, 0.0, 1.0, 2.5, float("nan")])
def test_what_is_neither_is_refused_with_its_value(length):
    assert f"x: {length} is neither" in str(length_fault("x", length))
    assert length_fault("x", 3) is length_fault("x", 0.5) is length_fault("x", None) is None
