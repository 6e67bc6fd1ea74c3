"""Learned uncertainty of each task: noisy tasks count less."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mftcoder.balancer.adam import adam
from mftcoder.balancer.base import AdaptiveBalancer


class Uncertainty(AdaptiveBalancer):
    """w_t = exp(-s_t), with s_t = log sigma_t ** 2 learned (Kendall, Gal and Cipolla, CVPR 2018).

    Minimises sum_t exp(-s_t) L_t + s_t / 2, the paper's form for classification, L / sigma ** 2 + log sigma. The
    gradient by s_t is 1 / 2 - exp(-s_t) L_t, so that s_t tends to log(2 L_t) and w_t to 1 / (2 L_t): in the long run
    each task's share of the loss is the same.
    lr: learning rate of the s_t, by Adam. It is apart from the model's, which would be far too small for them.
    """

    probe = "train"
    kept = (*AdaptiveBalancer.kept, "log_variances", "moments")

    def __init__(self, *, lr: float, min_weight: float, max_weight: float | None, floor: float) -> None:
        super().__init__(min_weight=min_weight, max_weight=max_weight, floor=floor)
        self.lr = lr

    def start(self, tasks: Sequence[str]) -> None:
        """Begin with a variance of 1 for every task."""
        super().start(tasks)
        self.log_variances = torch.zeros(len(tasks), dtype=torch.float64)
        self.moments = torch.zeros(3, len(tasks), dtype=torch.float64)

    def update(self, step: int, means: Tensor) -> Tensor:
        """One step of Adam on the s_t of the tasks that came."""
        gradient = 0.5 - (-self.log_variances).exp() * means
        self.log_variances, self.moments = adam(self.log_variances, gradient, self.moments, self.lr, 0.0)
        return (-self.log_variances).exp()
