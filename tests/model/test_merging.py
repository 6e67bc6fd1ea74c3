"""Merged updates against their formulas, written out by hand, and low-rank products against their matrices."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mftcoder.model.merging import LowRank, Method, combined, concatenated, factorised


def updates(number: int, *, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(5, 7, generator=generator, dtype=torch.float64) for _ in range(number)]


def product(rank: int, seed: int) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    factors = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((rank, 7), (5, rank))]
    return LowRank(factors[0], factors[1])


def merged(parts: list[Tensor], coefficients: list[float], method: Method, density: float = 1.0) -> Tensor:
    return combined(parts, coefficients, method=method, density=density, seed=3)


def test_linear_is_the_weighted_mean_and_task_arithmetic_the_weighted_sum():
    a, b = updates(2)
    torch.testing.assert_close(merged([a, b], [3.0, 1.0], "linear"), (3 * a + b) / 4)
    torch.testing.assert_close(merged([a, b], [3.0, -1.0], "task_arithmetic"), 3 * a - b)


def test_slerp_keeps_the_length_of_updates_of_one_length_and_meets_both_ends():
    a, b = (u / u.norm() for u in updates(2))
    for way in (0.0, 0.3, 1.0):
        assert float(merged([a, b], [1 - way, way], "slerp").norm()) == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(merged([a, b], [1.0, 0.0], "slerp"), a)
    torch.testing.assert_close(merged([a, b], [0.0, 2.0], "slerp"), b)
    halfway = merged([a, b], [1.0, 1.0], "slerp")
    angle = math.acos(float((a * b).sum()))
    assert math.acos(float((a * halfway).sum())) == pytest.approx(angle / 2, abs=1e-9)


@pytest.mark.parametrize("scale", [1.0, -1.0, 0.0])
def test_slerp_of_parallel_opposed_or_absent_updates_is_finite(scale: float):
    (a,) = updates(1)
    torch.testing.assert_close(merged([a, scale * a], [1.0, 1.0], "slerp"), (1 + scale) / 2 * a)


def test_ties_keeps_the_largest_elects_a_sign_and_averages_who_agrees():
    a = torch.tensor([[4.0, -1.0, 0.1, 2.0]])
    b = torch.tensor([[2.0, 3.0, -0.2, -5.0]])
    # Half of each is kept: a [4, 0, 0, 2], b [0, 3, 0, -5]. Signs by sum: +, +, (none), -.
    assert merged([a, b], [1.0, 1.0], "ties", density=0.5).tolist() == [[4.0, 3.0, 0.0, -5.0]]


@pytest.mark.parametrize("method", ["dare", "dare_ties"])
def test_dare_drops_at_random_by_its_seed_alone_and_keeps_the_expectation(method: Method):
    a = torch.ones(200, 200)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    once, again = (combined([a], [1.0], method=method, density=0.25, seed=1) for _ in range(2))
    other = combined([a], [1.0], method=method, density=0.25, seed=2)
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert set(once.unique().tolist()) == {0.0, 4.0}
    assert float(once.mean()) == pytest.approx(1, abs=0.03)


def test_what_names_no_merge_is_refused():
    with pytest.raises(ValueError, match=r"slerp joins two inputs, not 3"):
        merged(updates(3), [1.0, 1.0, 1.0], "slerp")
    for method in ("linear", "slerp"):
        with pytest.raises(ValueError, match=r"\[1.0, -1.0\] sum to 0"):
            merged(updates(2), [1.0, -1.0], method)


def test_a_concatenation_is_the_weighted_sum_of_its_products():
    one, two = product(2, 0), product(3, 1)
    joined = concatenated([one, two], [0.5, -2.0])
    assert joined.down.shape == (5, 7)
    torch.testing.assert_close(joined.dense, 0.5 * one.dense - 2 * two.dense)


@pytest.mark.parametrize("kind", ["dense", "product"])
def test_factors_are_exact_at_the_rank_of_the_matrix_and_nearest_below(kind: str):
    whole = concatenated([product(1, 0), product(2, 1)], [1.0, 1.0])
    update = whole if kind == "product" else whole.dense
    exact, nothing = factorised(update, 3)
    torch.testing.assert_close(exact.dense, whole.dense)
    assert nothing < 1e-12
    near, error = factorised(update, 2)
    values = torch.linalg.svdvals(whole.dense)
    assert near.down.shape == (2, 7)
    assert error == pytest.approx(float(values[2] / values.norm()), rel=1e-9)
    assert float((near.dense - whole.dense).norm() / whole.dense.norm()) == pytest.approx(error, rel=1e-9)


@pytest.mark.parametrize("rank", [4, 6])
def test_a_rank_above_the_matrix_is_filled_with_zeros(rank: int):
    update = product(2, 0)
    filled, error = factorised(update, rank)
    assert (filled.down.shape, filled.up.shape) == ((rank, 7), (5, rank))
    torch.testing.assert_close(filled.dense, update.dense)
    assert error == 0
