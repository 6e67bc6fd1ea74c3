"""Loss-balanced task weighting: what has come down least counts most."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mftcoder.balancer.base import AdaptiveBalancer


class LBTW(AdaptiveBalancer):
    """w_t = (L_t / L_t(0)) ** alpha, scaled to mean 1 (Liu, Liang and Gitter, AAAI 2019).

    L_t is the task's last loss, since that of the step at hand is known too late; L_t(0) is its first.
    alpha: 0 weighs equally, larger values favour slow tasks more. reset_steps: after so many steps L_t(0) is taken
    afresh (the authors do so at every epoch); None keeps the first of the run.
    """

    probe = "train"
    kept = (*AdaptiveBalancer.kept, "initial", "period", "latest")

    def __init__(
        self, *, alpha: float, reset_steps: int | None, min_weight: float, max_weight: float | None, floor: float
    ) -> None:
        super().__init__(min_weight=min_weight, max_weight=max_weight, floor=floor)
        if reset_steps is not None and reset_steps < 1:
            raise ValueError(f"reset_steps: {reset_steps} is not a number of steps from 1, or null")
        self.alpha = alpha
        self.reset_steps = reset_steps

    def start(self, tasks: Sequence[str]) -> None:
        """Begin with nothing seen."""
        super().start(tasks)
        self.initial = self.latest = torch.full((len(tasks),), torch.nan, dtype=torch.float64)
        self.period = torch.full((len(tasks),), -1)

    def update(self, step: int, means: Tensor) -> Tensor:
        """Compare each task's loss with its first in the period."""
        here = ~means.isnan()
        period = step // self.reset_steps if self.reset_steps else 0
        self.initial = torch.where(here & (self.period < period), means, self.initial)
        self.period = torch.where(here, period, self.period)
        self.latest = torch.where(here, means, self.latest)
        return (self.latest / self.initial) ** self.alpha
