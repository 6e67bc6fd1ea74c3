"""The contract of all objectives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from mftcoder.core.batch import Batch

Reduction = Literal["token", "sample"]
Normalization = Literal["step", "expected"]
LossKernel = Literal["fused", "dense"]


class Objective(ABC):
    """What is minimised: L = sum_t w_t L_t / sum_t w_t, with L_t the mean over task t's units in the global batch.

    reduction: token, the units are supervised tokens; sample, they are samples, each with the mean of its tokens.
    normalization: step, over the tasks and tokens that came; expected, over those that the mixture promises a step,
    which gives every task its weight also where it is often absent.
    loss_kernel: fused, the logits never exist at once; dense, they do: slower and larger, the reference.
    """

    reduction: Reduction
    normalization: Normalization
    loss_kernel: LossKernel

    def counts(self, batch: Batch, num_tasks: int) -> Tensor:
        """Units (supervised tokens, or samples that have any) of each task in `batch`: [T] float64."""
        units = batch.supervised if self.reduction == "token" else (batch.supervised > 0)
        return torch.zeros(num_tasks, dtype=torch.float64).index_add_(0, batch.tasks, units.double())

    @abstractmethod
    def losses(self, model: nn.Module, batch: Batch, coefficients: Tensor, focal_gamma: float) -> tuple[Tensor, Tensor]:
        """One micro-batch: its loss, sum over t of coefficients[t] * total[t], and the detached total [T].

        total[t] is the sum over t's units of their losses; coefficients [T] are w_t / (N_t sum of w). A focal_gamma
        other than 0 puts the factor (1 - p) ** gamma on each token in the loss, not in the totals.
        A batch without any target gives a zero that is tied to the parameters, so that no rank waits for another.
        """
