import math

import pytest
import torch

from mftcoder.engine import parameters


def test_the_norm_is_that_of_all_elements_together() -> None:
    gradients = [torch.randn(3, 4, dtype=torch.float64), torch.randn(5, dtype=torch.float64), torch.zeros(0).double()]
    flat = torch.cat([g.flatten() for g in gradients])
    assert float(parameters.squared_norm(gradients)) == pytest.approx(math.fsum(float(x) ** 2 for x in flat), rel=1e-14)


def test_bfloat16_gradients_are_not_rounded_to_three_digits() -> None:
    gradients = [torch.full((1000,), 0.01, dtype=torch.bfloat16)] * 7
    exact = 7000 * float(gradients[0][0]) ** 2
    assert float(parameters.squared_norm(gradients)) == pytest.approx(exact, rel=1e-6)


def test_dtypes_may_be_mixed_and_squares_beyond_float32_do_not_overflow() -> None:
    gradients = [torch.tensor([3e25]), torch.tensor([4e25], dtype=torch.float64), torch.ones(2, dtype=torch.bfloat16)]
    assert float(parameters.squared_norm(gradients).sqrt()) == pytest.approx(5e25, rel=1e-6)


def test_no_gradients_have_norm_zero() -> None:
    assert float(parameters.squared_norm([])) == 0


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_one_bad_element_shows_in_the_norm(poison: float) -> None:
    assert not math.isfinite(float(parameters.squared_norm([torch.ones(3), torch.tensor([0.0, poison])])))


@pytest.mark.parametrize(("limit", "factor"), [(None, 1), (5.0, 1), (2.5, 0.5)])
def test_scaling_down_reaches_the_limit_exactly_and_never_scales_up(limit: float | None, factor: float) -> None:
    gradients = [torch.tensor([3.0]).double(), torch.tensor([4.0])]
    parameters.scale_down(gradients, 5.0, limit)
    assert [float(g) for g in gradients] == [3 * factor, 4 * factor]
