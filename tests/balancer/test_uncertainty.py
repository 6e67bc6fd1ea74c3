"""Uncertainty weighting against torch's autograd and Adam."""

import numpy as np
import pytest
import torch
from loss_series import PLAIN, Series, drive, simulate, started
from quadratics import assert_leaves_equal_tasks_alone, descend, triangle

from mftcoder.balancer.uncertainty import Uncertainty


def reference(series: Series, lr: float) -> list[list[float]]:
    """sum_i exp(-s_i) L_i + s_i / 2, minimised over each s_i by an Adam of its own, in the steps that hold the task."""
    s = [torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in range(series.shape[1])]
    optimizers = [torch.optim.Adam([s_i], lr=lr) for s_i in s]
    weights = []
    for row in series:
        w = np.array([torch.exp(-s_i).item() for s_i in s])
        weights.append(w / w.mean())
        for i, loss in enumerate(row):
            if not np.isnan(loss):
                optimizers[i].zero_grad()
                (torch.exp(-s[i]) * loss + s[i] / 2).backward()
                optimizers[i].step()
    return weights


@pytest.mark.parametrize("tasks", [2, 5, 40])
def test_reference(tasks: int) -> None:
    series = simulate(tasks, 60, seed=tasks)
    seen = drive(started(Uncertainty(lr=0.05, **PLAIN), tasks), series)
    np.testing.assert_allclose(seen, reference(series, 0.05), rtol=1e-9)


def test_constant_losses_end_with_equal_shares_of_the_loss() -> None:
    losses = np.array([0.2, 1.0, 4.0])
    seen = drive(started(Uncertainty(lr=0.05, **PLAIN), 3), np.tile(losses, (2000, 1)))
    shares = seen[-1] * losses
    np.testing.assert_allclose(shares / shares.mean(), 1.0, rtol=1e-3)


def test_reaches_the_optimum_that_no_scale_can_move() -> None:
    balanced, _ = descend(Uncertainty(lr=0.1, **PLAIN), triangle([100.0, 1.0, 0.1]), [3.0, 2.0], 0.02, 2000)
    torch.testing.assert_close(balanced, torch.zeros(2).double(), rtol=0, atol=0.02)


def test_leaves_equal_tasks_alone() -> None:
    assert_leaves_equal_tasks_alone(Uncertainty(lr=0.02, **PLAIN))
