"""Dynamic weight average: tasks that have slowed down count more."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mftcoder.balancer.base import AdaptiveBalancer
from mftcoder.core.errors import raise_faults
from mftcoder.core.lengths import in_steps, length_fault


class DWA(AdaptiveBalancer):
    """w_t = T softmax_t(r_t / temperature), with r_t = L_t(e - 1) / L_t(e - 2) (Liu, Johns and Davison, CVPR 2019).

    L_t(e) is the mean of the task's losses over window e of `window_steps` steps, an epoch in the paper. Weights are
    equal until two windows are over. A task that was absent for g whole windows has r_t ** (1 / (g + 1)), its rate per
    window, and keeps its last r_t while it is away.

    Args:
        temperature: larger is more equal.
        window_steps: steps of a window, or a fraction of the run.
        min_weight: see AdaptiveBalancer.
        max_weight: see AdaptiveBalancer.
        floor: see AdaptiveBalancer.

    Raises:
        ValueError: the temperature is not above 0, or the window is no length.
    """

    probe = "train"
    kept = (*AdaptiveBalancer.kept, "sums", "counts", "closed", "latest", "latest_window", "ratio")

    def __init__(
        self,
        *,
        temperature: float,
        window_steps: int | float,
        min_weight: float,
        max_weight: float | None,
        floor: float,
    ) -> None:
        super().__init__(min_weight=min_weight, max_weight=max_weight, floor=floor)
        if not temperature > 0:
            raise ValueError(f"temperature: {temperature} is not above 0")
        raise_faults(filter(None, [length_fault("window_steps", window_steps)]), ValueError)
        self.temperature = temperature
        self.window_steps = window_steps

    def fit(self, total_steps: int) -> list[str]:
        """Fix the window; say where the run ends before two of them do."""
        self.window_steps = in_steps(self.window_steps, total_steps)
        if 2 * self.window_steps < total_steps:
            return []
        return [
            f"balancer.window_steps: two windows of {self.window_steps} steps have equal weights, and the run has "
            f"{total_steps}: it is equal weights throughout; take a fraction of the run, as 0.05"
        ]

    def start(self, tasks: Sequence[str]) -> None:
        """Begin with nothing seen."""
        super().start(tasks)
        self.closed = 0
        self.sums = self.counts = self.latest_window = torch.zeros(len(tasks), dtype=torch.float64)
        self.latest = self.ratio = torch.full((len(tasks),), torch.nan, dtype=torch.float64)

    def update(self, step: int, means: Tensor) -> Tensor:
        """Add to the window's means; at its end, compare them with those of the one before."""
        self.sums = self.sums + means.nan_to_num(0.0)
        self.counts = self.counts + ~means.isnan()
        if (window := int((step + 1) // self.window_steps)) > self.closed:
            self._close(window)
        return torch.where(self.ratio.isnan(), self.ratio, (self.ratio / self.temperature).nan_to_num(0).softmax(0))

    def _close(self, window: int) -> None:
        """End the window; `window` counts the windows that are over."""
        mean = self.sums / self.counts
        rate = (mean / self.latest) ** (1 / (window - self.latest_window))
        self.ratio = torch.where(rate.isnan(), self.ratio, rate)
        self.latest_window = torch.where(mean.isnan(), self.latest_window, window)
        self.latest = torch.where(mean.isnan(), self.latest, mean)
        self.sums, self.counts, self.closed = torch.zeros_like(mean), torch.zeros_like(mean), window
