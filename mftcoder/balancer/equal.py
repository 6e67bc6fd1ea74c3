"""The same weight for every task."""

from __future__ import annotations

import torch
from torch import Tensor

from mftcoder.balancer.base import Balancer


class Equal(Balancer):
    """w_t = 1, so that the loss is the plain mean of the tasks' mean losses, however much data each has."""

    def weights(self, step: int, counts: Tensor) -> Tensor:
        """Ones [T]."""
        return torch.ones(len(counts), dtype=torch.float64)
