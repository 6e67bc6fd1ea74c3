"""Toy problems with known optima, and gradient descent on them as the training loop does it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mftcoder.balancer.base import Balancer, GradientBalancer
from mftcoder.balancer.equal import Equal
from mftcoder.core.batch import TaskLosses

Losses = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From a point [P] to the losses [T] and their gradients [T, P]."""

CORNERS = torch.tensor([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]], dtype=torch.float64)


def triangle(scales: list[float]) -> Losses:
    """Three tasks that pull to the corners of a triangle, scales[i] * (|x - corner_i|^2 / 2 + 1).

    The optimum of any method that does not see the scales is the centre, 0; that of the plain sum is the mean of the
    corners weighted by the scales.
    """
    scale = torch.tensor(scales, dtype=torch.float64)
    return lambda x: (scale * (((x - CORNERS) ** 2).sum(1) / 2 + 1), scale[:, None] * (x - CORNERS))


def lanes(curvatures: list[float]) -> Losses:
    """Tasks that do not meet: task i has coordinate i, curvature_i / 2 (x_i - 1)^2. Steep ones converge fast."""
    curvature = torch.tensor(curvatures, dtype=torch.float64)
    return lambda x: (curvature / 2 * (x - 1) ** 2, torch.diag(curvature * (x - 1)))


def descend(balancer: Balancer, losses: Losses, x: list[float], lr: float, steps: int) -> tuple[Tensor, Tensor]:
    """Where gradient descent with the balancer's weights arrives, and the losses [steps + 1, T] on the way."""
    point = torch.tensor(x, dtype=torch.float64)
    values, gradients = losses(point)
    path, counts = [values], torch.ones_like(values)
    balancer.start([f"task{i}" for i in range(len(counts))])
    if balancer.wants(-1):
        balancer.observe(-1, TaskLosses(values, counts))
    for step in range(steps):
        weights = balancer.weights(step, counts)
        weights = weights / weights.sum()
        combined = balancer.combine(step, gradients, weights) if isinstance(balancer, GradientBalancer) else None
        point = point - lr * (weights @ gradients if combined is None else combined)
        before, (values, gradients) = values, losses(point)
        path.append(values)
        if balancer.wants(step):
            balancer.observe(step, TaskLosses(values if balancer.probe == "valid" else before, counts))
    return point, torch.stack(path)


def slowest(balancer: Balancer, curvatures: list[float], steps: int, lr: float = 0.2) -> float:
    """What is left of the loss of the task that came down least, in lanes."""
    _, path = descend(balancer, lanes(curvatures), [0.0] * len(curvatures), lr, steps)
    return float((path[-1] / path[0]).max())


def assert_leaves_equal_tasks_alone(balancer: Balancer) -> None:
    """On tasks that are alike, the path is that of equal weights."""
    _, path = descend(balancer, lanes([1.0] * 4), [0.0] * 4, 0.4, 60)
    _, expected = descend(Equal(), lanes([1.0] * 4), [0.0] * 4, 0.4, 60)
    torch.testing.assert_close(path, expected, rtol=1e-9, atol=1e-12)
