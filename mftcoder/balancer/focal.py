"""Focal weighting: what the model already does well counts less, token by token or task by task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from mftcoder.balancer.base import AdaptiveBalancer


class Focal(AdaptiveBalancer):
    """The factor (1 - p) ** gamma, with p how well the model does (Lin et al., ICCV 2017; Guo et al., ECCV 2018).

    level=sample: every supervised token's loss becomes (1 - p) ** gamma * -log p, p its own probability; tasks weigh
    the same. level=task: w_t = -(1 - k_t) ** gamma * log k_t (dynamic task prioritization), where the performance is
    k_t = exp(-L_t), the token probability in the geometric mean, smoothed over steps by
    k_t <- smoothing * exp(-L_t) + (1 - smoothing) * k_t.
    gamma: 0 takes the factor away. smoothing: 1 looks at the last step alone.
    """

    probe = "train"
    kept = (*AdaptiveBalancer.kept, "performance")

    def __init__(
        self,
        *,
        level: Literal["sample", "task"],
        gamma: float,
        smoothing: float,
        min_weight: float,
        max_weight: float | None,
        floor: float,
    ) -> None:
        super().__init__(min_weight=min_weight, max_weight=max_weight, floor=floor)
        if gamma < 0:
            raise ValueError(f"gamma: {gamma} is below 0")
        if not 0 < smoothing <= 1:
            raise ValueError(f"smoothing: {smoothing} is not above 0 and at most 1")
        self.gamma = gamma
        self.smoothing = smoothing
        self.by_task = level == "task"
        self.focal_gamma = 0.0 if self.by_task else gamma

    def start(self, tasks: Sequence[str]) -> None:
        """Begin with nothing seen."""
        super().start(tasks)
        self.performance = torch.full((len(tasks),), torch.nan, dtype=torch.float64)

    def wants(self, step: int) -> bool:
        """Only the level of tasks looks at losses."""
        return self.by_task and super().wants(step)

    def update(self, step: int, means: Tensor) -> Tensor:
        """Take in how well each task was done."""
        now = (-means).exp()
        smooth = torch.lerp(self.performance, now, self.smoothing)
        smooth = torch.where(self.performance.isnan(), now, smooth)
        self.performance = torch.where(now.isnan(), self.performance, smooth)
        k = self.performance.clamp(1e-300, 1.0)
        return -((1 - k) ** self.gamma) * k.log()
