"""CAGrad against its definition, solved by another method."""

import numpy as np
import pytest
import torch
from quadratics import descend, triangle
from scipy.optimize import minimize

from mftcoder.balancer.cagrad import CAGrad, worst_case


def reference(gradients: np.ndarray, c: float) -> np.ndarray:
    """d = g0 + c |g0| g_z / |g_z|, z from SLSQP on g_z . g0 + c |g0| |g_z| over the simplex."""
    g0 = gradients.mean(0)
    radius = c * np.linalg.norm(g0)

    found = minimize(
        lambda z: (z @ gradients) @ g0 + radius * np.linalg.norm(z @ gradients),
        np.full(len(gradients), 1 / len(gradients)),
        jac=lambda z: gradients @ (g0 + radius * (z @ gradients) / np.linalg.norm(z @ gradients)),
        bounds=[(0, 1)] * len(gradients),
        constraints={"type": "eq", "fun": lambda z: z.sum() - 1, "jac": np.ones_like},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    g = found.x @ gradients
    return g0 + radius * g / np.linalg.norm(g)


def random_gradients(tasks: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(tasks, 60)) * rng.uniform(0.1, 3, (tasks, 1)) + 0.2 * rng.normal(size=60)


@pytest.mark.parametrize("tasks", [2, 5, 40])
@pytest.mark.parametrize("c", [0.2, 0.5, 0.9])
def test_reference(tasks: int, c: float) -> None:
    for seed in range(3):
        gradients = random_gradients(tasks, seed)
        weights = torch.full((tasks,), 1 / tasks, dtype=torch.float64)
        seen = CAGrad(c=c, rescale=False).combine(0, torch.from_numpy(gradients), weights).numpy()
        expected = reference(gradients, c)
        worst = [(gradients @ d).min() for d in (seen, expected)]
        assert worst[0] >= worst[1] - 1e-6 * abs(worst[1]), "no worse for the worst-off task than the reference"
        np.testing.assert_allclose(seen, expected, rtol=0, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("tasks", [2, 5, 40])
def test_stays_in_its_ball_and_meets_the_dual_bound(tasks: int) -> None:
    """min_i g_i . d <= g_z . d <= g_z . g0 + c |g0| |g_z| for all z and d: equality proves both optimal."""
    gradients = random_gradients(tasks, 9)
    direction = CAGrad(c=0.5, rescale=False).combine(
        0, torch.from_numpy(gradients), torch.full((tasks,), 1 / tasks, dtype=torch.float64)
    )
    g0 = gradients.mean(0)
    radius = 0.5 * np.linalg.norm(g0)
    assert np.linalg.norm(direction.numpy() - g0) <= radius * (1 + 1e-12)
    products = gradients @ gradients.T
    z = worst_case(products.mean(1), products, radius)
    assert z.min() >= 0
    assert z.sum() == pytest.approx(1, abs=1e-12)
    dual = z @ products.mean(1) + radius * np.sqrt(z @ products @ z)
    assert (gradients @ direction.numpy()).min() == pytest.approx(dual, rel=1e-6)


def test_weights_scale_the_tasks_and_absent_ones_do_not_count() -> None:
    gradients = random_gradients(4, 1)
    weights = np.array([0.5, 0.2, 0.3, 0.0])
    seen = CAGrad(c=0.5, rescale=True).combine(0, torch.from_numpy(gradients), torch.from_numpy(weights))
    scaled = 3 * weights[:3, None] * gradients[:3]
    np.testing.assert_allclose(seen, reference(scaled, 0.5) / 1.25, rtol=0, atol=1e-4)


def test_c_of_0_is_the_weighted_mean() -> None:
    gradients, weights = torch.from_numpy(random_gradients(3, 2)), torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    torch.testing.assert_close(CAGrad(c=0.0, rescale=True).combine(0, gradients, weights), weights @ gradients)


def test_still_points_stay_still() -> None:
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    for gradients in (torch.zeros(2, 3), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])):
        direction = CAGrad(c=0.5, rescale=True).combine(0, gradients.double(), weights)
        assert torch.equal(direction, torch.zeros(gradients.shape[1]).double())


def test_converges_to_the_optimum_of_the_mean() -> None:
    """What MGDA and PCGrad do not promise: c < 1 ends where the plain mean does, here the centre of the triangle."""
    arrived, path = descend(CAGrad(c=0.5, rescale=True), triangle([1.0, 1.0, 1.0]), [3.0, 2.0], 0.1, 600)
    torch.testing.assert_close(arrived, torch.zeros(2).double(), rtol=0, atol=1e-2)
    assert (path[-1] <= path[0]).all()


@pytest.mark.parametrize("c", [-0.1, 1.0])
def test_a_c_that_does_not_converge_is_refused(c: float) -> None:
    with pytest.raises(ValueError, match=f"c: {c}"):
        CAGrad(c=c, rescale=True)
