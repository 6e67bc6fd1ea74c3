"""What an engine's wrapping does to the precision of arguments and results is noticed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from mftcoder.engine.boundary import Boundary


@dataclass
class Weights:
    coefficients: Tensor


class Inner(nn.Module):
    def forward(self, x: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
        return x.sum(), torch.zeros_like(weights.coefficients)


class Wrapper(nn.Module):
    """Casts arguments and results, as libraries for mixed precision do."""

    def __init__(self, arguments: torch.dtype, results: torch.dtype) -> None:
        super().__init__()
        self.inner, self.arguments, self.results = Inner(), arguments, results

    def forward(self, x: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
        loss, totals = self.inner(x, Weights(weights.coefficients.to(self.arguments)))
        return loss, totals.to(self.results)


def call(wrapper: nn.Module) -> None:
    wrapper(torch.ones(2), Weights(torch.ones(3, dtype=torch.float64)))


def test_what_is_left_alone_passes() -> None:
    wrapper = Wrapper(torch.float64, torch.float64)
    Boundary(wrapper, wrapper.inner)
    call(wrapper)


def test_rounded_arguments_are_noticed() -> None:
    wrapper = Wrapper(torch.bfloat16, torch.float64)
    Boundary(wrapper, wrapper.inner)
    with pytest.raises(AssertionError, match=r"arguments from .*float64.* to .*bfloat16"):
        call(wrapper)


def test_rounded_results_are_noticed() -> None:
    wrapper = Wrapper(torch.float64, torch.float32)
    Boundary(wrapper, wrapper.inner)
    with pytest.raises(AssertionError, match=r"results from .*float64.* to .*float32"):
        call(wrapper)


def test_a_hook_that_casts_is_noticed_where_the_module_is_its_own_wrapper() -> None:
    inner = Inner()
    inner.register_forward_pre_hook(lambda m, args: (args[0], Weights(args[1].coefficients.bfloat16())), prepend=True)
    Boundary(inner, inner)
    with pytest.raises(AssertionError, match="the engine casts"):
        call(inner)
