"""GradNorm against autograd of the paper's loss for the weights."""

import numpy as np
import pytest
import torch
from loss_series import PLAIN, Series, losses_of, simulate, started
from quadratics import assert_leaves_equal_tasks_alone, descend, slowest, triangle

from mftcoder.balancer.equal import Equal
from mftcoder.balancer.gradnorm import GradNorm


def reference(series: Series, gradients: Series, alpha: float, lr: float) -> list[list[float]]:
    """L_grad = sum_i | w_i |g_i| - mean_j(w_j |g_j|) r_i ** alpha |, the target constant; Adam; w sums to K."""
    tasks = series.shape[1]
    w = [torch.ones((), dtype=torch.float64, requires_grad=True) for _ in range(tasks)]
    optimizers = [torch.optim.Adam([x], lr=lr) for x in w]
    first: dict[int, float] = {}
    weights = []
    for t, row in enumerate(series):
        weights.append([x.item() for x in w])
        here = [i for i in range(tasks) if not np.isnan(row[i])]
        for i in here:
            first.setdefault(i, row[i])
        sizes = [w[i] * np.sqrt(sum(gradients[t, i] ** 2)) for i in here]
        mean = sum(s.item() for s in sizes) / len(here)
        ratios = [row[i] / first[i] for i in here]
        targets = [mean * (r / (sum(ratios) / len(here))) ** alpha for r in ratios]
        sum(abs(s - target) for s, target in zip(sizes, targets, strict=True)).backward()
        for i in here:
            optimizers[i].step()
            optimizers[i].zero_grad()
        with torch.no_grad():
            for x in w:
                x.clamp_(min=1e-6)
            total = sum(x.item() for x in w)
            for x in w:
                x.mul_(tasks / total)
    return weights


@pytest.mark.parametrize("tasks", [2, 5, 40])
@pytest.mark.parametrize("alpha", [0.0, 1.5])
def test_reference(tasks: int, alpha: float) -> None:
    series = simulate(tasks, 50, seed=tasks)
    series[np.isnan(series).all(axis=1), 0] = 1.0  # a step holds something
    gradients = np.random.default_rng(tasks).normal(size=(50, tasks, 7)) * np.linspace(0.1, 3, tasks)[:, None]
    balancer = started(GradNorm(alpha=alpha, lr=0.05, **PLAIN), tasks)
    seen = []
    for step, row in enumerate(series):
        losses = losses_of(row)
        weights = balancer.weights(step, losses.count)
        seen.append(weights.numpy())
        shares = torch.where(losses.present, weights, 0.0) / weights[losses.present].sum()
        rows = torch.from_numpy(gradients[step]) * losses.present[:, None]
        torch.testing.assert_close(balancer.combine(step, rows, shares), shares @ rows, rtol=1e-12, atol=1e-15)
        balancer.observe(step, losses)
    np.testing.assert_allclose(seen, reference(series, gradients, alpha, 0.05), rtol=1e-9)


def test_brings_the_norms_together() -> None:
    """At alpha = 0 and a still point of view, weights tend to 1 / |g_i|."""
    balancer = started(GradNorm(alpha=0.0, lr=0.01, **PLAIN), 3)
    gradients = torch.diag(torch.tensor([10.0, 2.0, 1.0], dtype=torch.float64))
    for step in range(600):
        balancer.combine(step, gradients, balancer.weights(step, torch.ones(3)) / 3)
        balancer.observe(step, losses_of(np.ones(3)))
    sizes = balancer.weights(600, torch.ones(3)) * gradients.diagonal()
    torch.testing.assert_close(sizes / sizes.mean(), torch.ones(3).double(), rtol=0.1, atol=0)


def test_helps_the_small_and_the_slow_and_leaves_equals_alone() -> None:
    balanced, _ = descend(GradNorm(alpha=0.0, lr=0.01, **PLAIN), triangle([100.0, 1.0, 0.1]), [0.5, 0.5], 0.02, 1500)
    plain, _ = descend(Equal(), triangle([100.0, 1.0, 0.1]), [0.5, 0.5], 0.02, 1500)
    assert balanced.norm() < 0.5 * plain.norm()
    curvatures = [4.0, 1.0, 0.25]
    assert slowest(GradNorm(alpha=0.5, lr=0.05, **PLAIN), curvatures, 60) < 0.8 * slowest(Equal(), curvatures, 60)
    assert_leaves_equal_tasks_alone(GradNorm(alpha=1.5, lr=0.025, **PLAIN))
