"""From task weights to the coefficient of every unit in the loss, and what the weights came to in the end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

TOLERANCE = 0.1
"""Share by which a realised weight may differ from its target before the user is told."""


def coefficients(weights: Tensor, counts: Tensor, expected: Tensor | None = None) -> Tensor:
    """The coefficient [T] of each task's units, from its weight and the units [T] of the whole global batch.

    With `expected` None: w_t / (N_t * sum of the present tasks' w), so that the loss is the weighted mean of the task
    means that came (normalization=step). With the units [T] that the mixture promises a step:
    w_t / (expected_t * sum of all w), unbiased however rarely a task comes (normalization=expected).
    Absent tasks get 0. float64. Where all weights of the present tasks are 0, all coefficients are 0.
    """
    present = counts > 0
    if expected is None:
        active = torch.where(present, weights, 0.0)
        mass = active / active.sum().clamp(min=1e-300)
        return torch.where(present, mass / counts.clamp(min=1), 0.0)
    share = weights / weights.sum().clamp(min=1e-300)
    return torch.where(present & (expected > 0), share / expected.clamp(min=1e-300), 0.0)


class EffectiveWeights:
    """The mean over all steps of the share that each task had in the loss, beside the share it was meant to have."""

    def __init__(self, num_tasks: int) -> None:
        self.realised = torch.zeros(num_tasks, dtype=torch.float64)
        self.target = torch.zeros(num_tasks, dtype=torch.float64)
        self.steps = 0

    def add(self, weights: Tensor, counts: Tensor, coefficients: Tensor) -> None:
        """Take in one step: all [T], float64."""
        self.realised += coefficients * counts
        self.target += weights / weights.sum().clamp(min=1e-300)
        self.steps += 1

    @property
    def mean(self) -> Tensor:
        """[T]: the realised shares; they sum to 1."""
        return self.realised / self.realised.sum().clamp(min=1e-300)

    def departures(self) -> dict[int, tuple[float, float]]:
        """Tasks whose realised share is off its target by more than TOLERANCE of it: {task: (realised, target)}."""
        target, realised = self.target / max(self.steps, 1), self.mean
        far = (realised - target).abs() > TOLERANCE * target
        return {int(t): (float(realised[t]), float(target[t])) for t in far.nonzero().flatten()}

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue the sums."""
        vars(self).update(state)
