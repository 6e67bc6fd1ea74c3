"""Simulated loss series, and a loop around a balancer as the training loop does it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from mftcoder.balancer.base import Balancer
from mftcoder.core.batch import TaskLosses

Series = NDArray[np.float64]

PLAIN = {"min_weight": 0.0, "max_weight": None, "floor": 0.0}
"""Bounds that change nothing."""


def simulate(tasks: int, steps: int, seed: int = 0, absent: float = 0.25) -> Series:
    """Losses [steps, tasks]: noisy decays of different height, speed and end; the last task turns up again halfway.

    NaN where a task is absent; every task comes in the first step.
    """
    rng = np.random.default_rng(seed)
    time = np.arange(steps)[:, None]
    height, end = rng.uniform(0.5, 5.0, tasks), rng.uniform(0.1, 1.0, tasks)
    series = end + height * np.exp(-time * rng.uniform(0.01, 0.2, tasks)) + rng.normal(0, 0.02, (steps, tasks))
    series[steps // 2 :, -1] += 0.05 * np.arange(steps - steps // 2)
    series[1:][rng.uniform(size=(steps - 1, tasks)) < absent] = np.nan
    return np.where(series > 0.01, series, np.where(np.isnan(series), np.nan, 0.01))


def losses_of(row: Series) -> TaskLosses:
    """Per-task sums whose means are exactly `row`."""
    means = torch.from_numpy(np.array(row, dtype=np.float64))
    return TaskLosses(means.nan_to_num(0.0), (~means.isnan()).double())


def started(balancer: Balancer, tasks: int) -> Balancer:
    balancer.start([f"task{t}" for t in range(tasks)])
    return balancer


def drive(balancer: Balancer, series: Series, first: int = 0) -> Series:
    """Mean-one weights [steps, tasks] before each step from `first`; row s of the series is observed after step s.

    Row -1, the last, is also what a validation probe before the first step sees.
    """
    seen = []
    if first == 0 and balancer.wants(-1):
        balancer.observe(-1, losses_of(series[-1]))
    for step in range(first, len(series)):
        losses = losses_of(series[step])
        weights = balancer.weights(step, losses.count).numpy()
        seen.append(weights / weights.mean())
        if balancer.wants(step):
            balancer.observe(step, losses)
    return np.array(seen)


def mean_one(weights: list[float | None]) -> list[float]:
    """The reference's weights with the unknown ones at the mean of the known, scaled to mean 1."""
    known = [w for w in weights if w is not None]
    if not known:
        return [1.0] * len(weights)
    mean = sum(known) / len(known)
    return [1.0 if w is None else w / mean for w in weights]
