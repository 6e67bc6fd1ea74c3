"""FAMO: every task's loss falls by the same share, at the cost of no extra pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mftcoder.balancer.adam import adam
from mftcoder.balancer.base import AdaptiveBalancer


class FAMO(AdaptiveBalancer):
    """w_t = z_t / L_t, z = softmax(xi), xi learned (Liu, Feng, Stone and Liu, NeurIPS 2023).

    After a step, xi <- xi - beta (J^T delta + gamma xi) by Adam, with J the Jacobian of the softmax and
    delta_t = log L_t(before) - log L_t(after): a task that improves faster than the others loses weight. The paper's
    c = 1 / sum_t (z_t / L_t) is the loop's normalisation.
    Two things differ, so that no second forward pass is needed: L_t is the task's last loss, and delta_t compares it
    with the loss of the next step in which the task comes, on other data, divided by the steps in between. J is taken
    over the tasks that have a delta; the xi of the others stand still.
    lr: the paper's beta. weight_decay: the paper's gamma, how strongly the weights are drawn to equality.
    """

    probe = "train"
    kept = (*AdaptiveBalancer.kept, "logits", "moments", "last", "last_step")

    def __init__(
        self, *, lr: float, weight_decay: float, min_weight: float, max_weight: float | None, floor: float
    ) -> None:
        super().__init__(min_weight=min_weight, max_weight=max_weight, floor=floor)
        self.lr = lr
        self.weight_decay = weight_decay

    def start(self, tasks: Sequence[str]) -> None:
        """Begin with xi = 0."""
        super().start(tasks)
        self.logits = torch.zeros(len(tasks), dtype=torch.float64)
        self.moments = torch.zeros(3, len(tasks), dtype=torch.float64)
        self.last = torch.full((len(tasks),), torch.nan, dtype=torch.float64)
        self.last_step = torch.zeros(len(tasks), dtype=torch.float64)

    def update(self, step: int, means: Tensor) -> Tensor:
        """Learn from how far each loss has come since its task was last seen."""
        here = ~means.isnan()
        delta = (self.last.log() - means.log()) / (step - self.last_step)
        z = torch.where(delta.isnan(), -torch.inf, self.logits).softmax(0)
        gradient = z * (delta - (z * delta).nansum())
        self.logits, self.moments = adam(self.logits, gradient, self.moments, self.lr, self.weight_decay)
        self.last = torch.where(here, means, self.last)
        self.last_step = torch.where(here, step, self.last_step)
        return self.logits.softmax(0) / self.last
