"""From task weights to the coefficient of every unit in the loss, and what the weights came to in the end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

TOLERANCE = 0.1
"""Share by which a realised weight may differ from its target before the user is told."""


@dataclass(frozen=True, slots=True)
class TokenWeights:
    """What the loss of one token counts in the objective.

    Args:
        coefficients: [T] float64, by which the losses of each task's tokens (or samples) are multiplied.
        focal_gamma: exponent of the factor (1 - p) ** gamma on the loss of a token of probability p; 0 for none.
    """

    coefficients: Tensor
    focal_gamma: float = 0.0

    def to(self, device: torch.device) -> TokenWeights:
        """The same on `device`."""
        return replace(self, coefficients=self.coefficients.to(device))


def token_coefficients(weights: Tensor, denominators: Tensor, expected: Tensor | None = None) -> Tensor:
    """The coefficient of every token (or sample) of each task in the loss.

    normalization=step: w_t / (N_t * sum of the present tasks' w), so that the loss is the weighted mean of the means
    of the tasks that came. normalization=expected: w_t / (E_t * sum of all w), unbiased however rarely a task comes.

    Args:
        weights: [T] w, non-negative, of any scale.
        denominators: [T] N, supervised tokens (or samples) in the whole global batch.
        expected: [T] E, the same as the mixture promises them to this step; None for normalization=step.

    Returns:
        [T] float64; 0 for absent tasks, and for all where the present tasks have no weight.
    """
    present = denominators > 0
    if expected is None:
        active = torch.where(present, weights, 0.0)
        share = active / active.sum().clamp(min=1e-300)
        return torch.where(present, share / denominators.clamp(min=1), 0.0)
    share = weights / weights.sum().clamp(min=1e-300)
    return torch.where(present & (expected > 0), share / expected.clamp(min=1e-300), 0.0)


class EffectiveWeights:
    """The mean over all steps of the share that each task had in the loss, beside the share it was meant to have."""

    def __init__(self, num_tasks: int) -> None:
        self.realised = torch.zeros(num_tasks, dtype=torch.float64)
        self.target = torch.zeros(num_tasks, dtype=torch.float64)
        self.steps = 0

    def add(self, weights: Tensor, shares: Tensor) -> None:
        """Take in one step.

        Args:
            weights: [T] float64, of any scale, that were meant.
            shares: [T] float64, the part of the loss that each task's mean loss had.
        """
        self.realised += shares
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
