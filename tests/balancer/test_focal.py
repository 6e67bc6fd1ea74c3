"""Focal weighting against its formulas."""

import math

import numpy as np
import pytest
import torch
from loss_series import PLAIN, Series, drive, mean_one, simulate, started
from quadratics import assert_leaves_equal_tasks_alone, slowest

from mftcoder.balancer.equal import Equal
from mftcoder.balancer.focal import Focal


def reference(series: Series, gamma: float, smoothing: float) -> list[list[float]]:
    """k <- a exp(-L) + (1 - a) k; w = -(1 - k) ** gamma log k."""
    k: dict[int, float] = {}
    weights = []
    for row in series:
        known = [k.get(i) for i in range(len(row))]
        weights.append(mean_one([None if x is None else -((1 - x) ** gamma) * math.log(x) for x in known]))
        for i, loss in enumerate(row):
            if not math.isnan(loss):
                now = math.exp(-loss)
                k[i] = smoothing * now + (1 - smoothing) * k[i] if i in k else now
    return weights


@pytest.mark.parametrize("tasks", [2, 5, 40])
@pytest.mark.parametrize(("gamma", "smoothing"), [(2.0, 1.0), (0.0, 0.1), (0.5, 0.3)])
def test_reference(tasks: int, gamma: float, smoothing: float) -> None:
    series = simulate(tasks, 50, seed=tasks)
    series[:4, 0] = np.nan
    balancer = started(Focal(level="task", gamma=gamma, smoothing=smoothing, **PLAIN), tasks)
    np.testing.assert_allclose(drive(balancer, series), reference(series, gamma, smoothing), rtol=1e-11)
    assert balancer.focal_gamma == 0.0


def test_sample_level_leaves_the_work_to_the_loss() -> None:
    balancer = started(Focal(level="sample", gamma=2.0, smoothing=1.0, **PLAIN), 3)
    assert balancer.focal_gamma == 2.0
    assert not balancer.wants(0)
    assert balancer.weights(0, torch.ones(3)).tolist() == [1.0, 1.0, 1.0]


def test_a_loss_beyond_all_measure_keeps_weights_finite() -> None:
    balancer = started(Focal(level="task", gamma=2.0, smoothing=1.0, **PLAIN), 2)
    seen = drive(balancer, np.array([[1e30, 1e-30], [2.0, 2.0]]))
    assert np.isfinite(seen).all()


def test_helps_the_slow_and_leaves_equals_alone() -> None:
    balancer = Focal(level="task", gamma=1.0, smoothing=1.0, **PLAIN)
    assert slowest(balancer, [4.0, 1.0, 0.25], 60, lr=0.1) < slowest(Equal(), [4.0, 1.0, 0.25], 60, lr=0.1)
    assert_leaves_equal_tasks_alone(Focal(level="task", gamma=1.0, smoothing=1.0, **PLAIN))


@pytest.mark.parametrize("bad", [{"gamma": -1.0}, {"smoothing": 0.0}, {"smoothing": 1.5}])
def test_bad_values_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Focal(**({"level": "task", "gamma": 2.0, "smoothing": 0.5} | PLAIN | bad))  # type: ignore[arg-type]
