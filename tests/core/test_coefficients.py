"""Coefficients against the formula, and what the weights come to over many steps."""

import importlib.util
from pathlib import Path

import pytest
import torch

from mftcoder.core.coefficients import EffectiveWeights, token_coefficients


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_step_divides_by_what_came():
    got = token_coefficients(tensor(1, 2, 5), tensor(10, 4, 0))
    assert got.tolist() == pytest.approx([1 / 3 / 10, 2 / 3 / 4, 0])


def test_expected_divides_by_what_was_promised_whoever_came():
    got = token_coefficients(tensor(1, 1, 2), tensor(10, 4, 0), tensor(5, 5, 1))
    assert got.tolist() == pytest.approx([0.25 / 5, 0.25 / 5, 0])


def test_nothing_and_no_weight_give_zeros():
    assert token_coefficients(tensor(1, 1), tensor(0, 0)).tolist() == [0, 0]
    assert token_coefficients(tensor(0, 1), tensor(3, 0)).tolist() == [0, 0]


def test_departures_name_the_tasks_that_get_too_little_or_too_much():
    effective = EffectiveWeights(2)
    effective.add(tensor(1, 1), tensor(0.5, 0.5))
    assert effective.departures() == {}
    for _ in range(3):
        effective.add(tensor(1, 1), tensor(1, 0))
    assert effective.departures() == {0: (pytest.approx(0.875), 0.5), 1: (pytest.approx(0.125), 0.5)}
    other = EffectiveWeights(2)
    other.load_state_dict(effective.state_dict())
    assert other.departures() == effective.departures()


@pytest.fixture(scope="module")
def bench():
    path = Path(__file__).parents[2] / "bench/effective_weights.py"
    spec = importlib.util.spec_from_file_location("effective_weights", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("rule", ["expected", "step, stratified"])
def test_both_cures_give_every_task_its_weight(bench, rule):
    """Shares .70 .20 .08 .02 over 500 steps of 16 dialogues, equal weights."""
    assert bench.realised(rule) == pytest.approx([0.25] * 4, rel=0.02)


def test_without_a_cure_rare_tasks_get_little(bench):
    realised = bench.realised("step")
    assert realised[0] > 0.30
    assert realised[3] < 0.10
