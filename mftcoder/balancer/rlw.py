"""Random loss weighting: the control that every adaptive method must beat."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mftcoder.balancer.base import Balancer


class RLW(Balancer):
    """w = softmax(x), x_t from N(0, 1), drawn anew in every step (Lin, Ye, Zhang and Tsang, TMLR 2022).

    seed: the draw is a function of the seed and the step alone, so that it is the same on all ranks and after a resume.
    """

    def __init__(self, *, seed: int) -> None:
        self.seed = seed

    def weights(self, step: int, counts: Tensor) -> Tensor:
        """The draw [T] of this step."""
        draw = np.random.default_rng([self.seed, step]).standard_normal(len(counts))
        return torch.from_numpy(draw).softmax(0)
