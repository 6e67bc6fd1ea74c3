"""PCGrad against the algorithm on the gradients themselves."""

import numpy as np
import pytest
import torch
from quadratics import assert_leaves_equal_tasks_alone, descend, triangle

from mftcoder.balancer.equal import Equal
from mftcoder.balancer.pcgrad import PCGrad


def reference(gradients: np.ndarray, weights: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """For each i: g_i' = g_i; for j != i in the order given: if g_i' . g_j < 0: g_i' -= (g_i' . g_j) / |g_j|^2 g_j."""
    direction = np.zeros(gradients.shape[1])
    for i, w in enumerate(weights):
        if w == 0:
            continue
        g = gradients[i].copy()
        for j in orders[i]:
            if j != i and weights[j] > 0 and g @ gradients[j] < 0:
                g -= (g @ gradients[j]) / (gradients[j] @ gradients[j]) * gradients[j]
        direction += w * g
    return direction


@pytest.mark.parametrize("tasks", [2, 5, 40])
@pytest.mark.parametrize("absent", [0, 1])
def test_reference(tasks: int, absent: int) -> None:
    rng = np.random.default_rng(tasks)
    for step in range(10):
        gradients = rng.normal(size=(tasks, 12)) * rng.uniform(0.01, 5, (tasks, 1))
        weights = rng.uniform(size=tasks)
        gradients[tasks - absent :], weights[tasks - absent :] = 0, 0
        weights /= weights.sum()
        orders = np.random.default_rng([7, step]).permuted(np.tile(np.arange(tasks), (tasks, 1)), axis=1)
        seen = PCGrad(seed=7).combine(step, torch.from_numpy(gradients), torch.from_numpy(weights))
        np.testing.assert_allclose(seen, reference(gradients, weights, orders), rtol=1e-9, atol=1e-12)


def test_the_orders_are_random_and_belong_to_seed_and_step() -> None:
    gradients = torch.randn(6, 9, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    weights = torch.full((6,), 1 / 6, dtype=torch.float64)

    def direction(seed: int, step: int) -> torch.Tensor:
        return PCGrad(seed=seed).combine(step, gradients, weights)

    assert torch.equal(direction(1, 5), direction(1, 5))
    assert not torch.allclose(direction(1, 5), direction(1, 6))
    assert not torch.allclose(direction(1, 5), direction(2, 5))


def test_two_tasks_in_conflict_are_both_served() -> None:
    gradients = torch.tensor([[1.0, 0.0], [-3.0, 1.0]], dtype=torch.float64)
    direction = PCGrad(seed=0).combine(0, gradients, torch.tensor([0.5, 0.5]).double())
    assert (gradients @ direction >= -1e-12).all()
    assert gradients[0] @ gradients.mean(0) < 0, "the mean gradient would hurt the first"


def test_without_conflict_it_is_the_weighted_mean() -> None:
    gradients = torch.tensor([[1.0, 0.2], [0.3, 1.0]], dtype=torch.float64)
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    torch.testing.assert_close(PCGrad(seed=0).combine(0, gradients, weights), weights @ gradients)


def test_a_task_without_weight_has_no_say() -> None:
    gradients = torch.tensor([[1.0, 0.0], [-3.0, 1.0]], dtype=torch.float64)
    weights = torch.tensor([1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(PCGrad(seed=0).combine(0, gradients, weights), gradients[0])


def test_single_precision_gradients_give_a_single_precision_direction() -> None:
    gradients = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    direction = PCGrad(seed=0).combine(0, gradients, torch.full((3,), 1 / 3))
    expected = PCGrad(seed=0).combine(0, gradients.double(), torch.full((3,), 1 / 3, dtype=torch.float64))
    assert direction.dtype == torch.float32
    torch.testing.assert_close(direction.double(), expected, rtol=1e-4, atol=1e-5)


def test_stops_anywhere_on_the_pareto_front_and_leaves_equals_alone() -> None:
    """With c < 1 and CAGrad the end would be the mean's; here it is whichever optimal point comes first."""

    def two(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        losses, gradients = triangle([1.0, 1.0, 1.0])(x)
        return losses[1:], gradients[1:]

    arrived, path = descend(PCGrad(seed=0), two, [0.9, 1.5], 0.1, 500)
    mean, _ = descend(Equal(), two, [0.9, 1.5], 0.1, 500)
    torch.testing.assert_close(mean, torch.tensor([-0.5, 0.0]).double(), rtol=0, atol=1e-3)
    assert float(arrived[0]) == pytest.approx(-0.5, abs=1e-2)
    assert abs(float(arrived[1])) < 0.75**0.5
    assert (path[1:] <= path[:-1] + 1e-12).all(), "no task ever gets worse on the way"
    assert_leaves_equal_tasks_alone(PCGrad(seed=0))
