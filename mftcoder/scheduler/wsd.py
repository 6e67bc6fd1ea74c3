"""Warm-up, stable, decay: the learning rate holds its peak and falls only at the end."""

from __future__ import annotations

import math
from typing import Literal

from mftcoder.scheduler.base import Schedule


class WSD(Schedule):
    """decay(p) = 1 while p < 1 - decay_fraction, then shape(q) with q running from 0 to 1.

    Args:
        num_warmup_steps: see Schedule.
        min_lr: see Schedule; the warm-up begins with it, too.
        decay_fraction: the share of the steps after the warm-up that decay, above 0 and up to 1.
        shape: sqrt, 1 - sqrt(q), the best in Hägele et al., arXiv:2405.18392; linear, 1 - q; cosine,
            (1 + cos(pi q)) / 2.

    Raises:
        ValueError: one of them is out of its range.

    Source: MiniCPM, arXiv:2404.06395.
    """

    warms_up_from_min_lr = True

    def __init__(
        self,
        *,
        num_warmup_steps: int | float,
        min_lr: float | None,
        decay_fraction: float,
        shape: Literal["sqrt", "linear", "cosine"],
    ) -> None:
        super().__init__(num_warmup_steps=num_warmup_steps, min_lr=min_lr)
        if not 0 < decay_fraction <= 1:
            raise ValueError(
                f"decay_fraction: {decay_fraction} is not a share of the steps; give one above 0.0 and up to 1.0"
            )
        self.decay_fraction = decay_fraction
        self.shape = shape

    def decay(self, progress: float) -> float:
        """All of it until the decay starts, then the shape's share."""
        fallen = max(0.0, 1.0 - (1.0 - progress) / self.decay_fraction)
        if self.shape == "sqrt":
            return 1.0 - math.sqrt(fallen)
        if self.shape == "linear":
            return 1.0 - fallen
        return 0.5 * (1.0 + math.cos(math.pi * fallen))
