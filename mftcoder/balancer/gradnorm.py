"""GradNorm: gradients of like size, larger for tasks that train slowly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mftcoder.balancer.adam import adam
from mftcoder.balancer.base import AdaptiveBalancer, GradientBalancer


class GradNorm(AdaptiveBalancer, GradientBalancer):
    """w learned so that w_t ||g_t|| = G_t tends to mean(G) r_t ** alpha (Chen et al., ICML 2018).

    r_t = (L_t / L_t(0)) / mean of the same. Minimises sum_t |G_t - mean(G) r_t ** alpha|, the target held constant, by
    Adam; then the w are scaled to mean 1. Means are over the tasks of the step, g_t is the gradient of the task's mean
    loss by all trainable parameters (the paper takes the last shared layer), L_t(0) the task's first loss.
    alpha: how strongly slow tasks are favoured; 0 asks for equal norms. lr: learning rate of the weights.
    """

    probe = "train"
    kept = (*AdaptiveBalancer.kept, "learned", "moments", "initial")

    def __init__(self, *, alpha: float, lr: float, min_weight: float, max_weight: float | None, floor: float) -> None:
        super().__init__(min_weight=min_weight, max_weight=max_weight, floor=floor)
        self.alpha = alpha
        self.lr = lr

    def start(self, tasks: Sequence[str]) -> None:
        """Begin with equal weights."""
        super().start(tasks)
        self.learned = torch.ones(len(tasks), dtype=torch.float64)
        self.moments = torch.zeros(3, len(tasks), dtype=torch.float64)
        self.initial = torch.full((len(tasks),), torch.nan, dtype=torch.float64)

    def coefficients(self, step: int, gram: Tensor, weights: Tensor) -> Tensor:
        """The weights [T] themselves; the norms are for the update that follows in the same step."""
        self.norms = gram.diagonal().sqrt()
        return weights

    def update(self, step: int, means: Tensor) -> Tensor:
        """One step of Adam on the weights of the tasks that came."""
        self.initial = torch.where(self.initial.isnan(), means, self.initial)
        progress = means / self.initial
        norms = torch.where(means.isnan(), torch.nan, self.norms)
        sizes = self.learned * norms
        target = sizes.nanmean() * (progress / progress.nanmean()) ** self.alpha
        gradient = norms * (sizes - target).sign()  # NaN where norms is: torch's sign of NaN is 0
        learned, self.moments = adam(self.learned, gradient, self.moments, self.lr, 0.0)
        learned = learned.clamp(min=1e-6)
        self.learned = learned / learned.mean()
        return self.learned
