"""FAMO against the authors' formulation: autograd through the softmax, and torch's Adam."""

import numpy as np
import pytest
import torch
from loss_series import PLAIN, Series, drive, mean_one, simulate, started
from quadratics import assert_leaves_equal_tasks_alone, descend, triangle

from mftcoder.balancer.equal import Equal
from mftcoder.balancer.famo import FAMO


def reference_all_present(series: Series, lr: float, decay: float) -> list[list[float]]:
    """w_i = z_i / L_i; xi by Adam along the Jacobian of z = softmax(xi) times log L(t - 1) - log L(t)."""
    xi = torch.zeros(series.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([xi], lr=lr, weight_decay=decay)
    last, weights = None, []
    for row in torch.from_numpy(series):
        weights.append([1.0] * len(row) if last is None else mean_one((xi.detach().softmax(0) / last).tolist()))
        if last is not None:
            delta = last.log() - row.log()
            xi.grad = torch.autograd.grad(torch.softmax(xi, 0), xi, grad_outputs=delta)[0]
            optimizer.step()
        last = row
    return weights


def reference(series: Series, lr: float, decay: float) -> list[list[float]]:
    """The same for tasks that come and go: per task its own Adam, deltas per step, softmax over those with a delta."""
    tasks = series.shape[1]
    xi, m, v, n = ([0.0] * tasks for _ in range(4))
    last: dict[int, tuple[int, float]] = {}
    weights = []
    for t, row in enumerate(series):
        total = sum(np.exp(x) for x in xi)
        weights.append(mean_one([np.exp(xi[i]) / total / last[i][1] if i in last else None for i in range(tasks)]))
        here = [i for i in range(tasks) if not np.isnan(row[i])]
        delta = {i: (np.log(last[i][1]) - np.log(row[i])) / (t - last[i][0]) for i in here if i in last}
        total = sum(np.exp(xi[i]) for i in delta)
        z = {i: np.exp(xi[i]) / total for i in delta}
        mean = sum(z[i] * delta[i] for i in delta)
        for i, d in delta.items():
            g = z[i] * (d - mean) + decay * xi[i]
            n[i] += 1
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g * g
            xi[i] -= lr * (m[i] / (1 - 0.9 ** n[i])) / (np.sqrt(v[i] / (1 - 0.999 ** n[i])) + 1e-8)
        last |= {i: (t, row[i]) for i in here}
    return weights


@pytest.mark.parametrize("tasks", [2, 5, 40])
def test_reference_with_all_tasks_present(tasks: int) -> None:
    series = simulate(tasks, 60, seed=tasks, absent=0.0)
    seen = drive(started(FAMO(lr=0.025, weight_decay=0.01, **PLAIN), tasks), series)
    np.testing.assert_allclose(seen, reference_all_present(series, 0.025, 0.01), rtol=1e-7)


@pytest.mark.parametrize("tasks", [2, 5, 40])
def test_reference_with_absent_tasks(tasks: int) -> None:
    series = simulate(tasks, 60, seed=tasks, absent=0.4)
    series[:9, 0] = np.nan
    seen = drive(started(FAMO(lr=0.1, weight_decay=0.001, **PLAIN), tasks), series)
    np.testing.assert_allclose(seen, reference(series, 0.1, 0.001), rtol=1e-9)


def test_reaches_the_optimum_that_no_scale_can_move() -> None:
    scales = [100.0, 1.0, 0.1]
    balanced, _ = descend(FAMO(lr=0.05, weight_decay=0.01, **PLAIN), triangle(scales), [3.0, 2.0], 0.02, 2000)
    plain, _ = descend(Equal(), triangle(scales), [3.0, 2.0], 0.02, 2000)
    torch.testing.assert_close(balanced, torch.zeros(2).double(), rtol=0, atol=0.02)
    assert plain.norm() > 0.9


def test_leaves_equal_tasks_alone() -> None:
    assert_leaves_equal_tasks_alone(FAMO(lr=0.05, weight_decay=0.001, **PLAIN))
