"""The contract of all objectives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from mftcoder.core.batch import Batch
from mftcoder.core.coefficients import TokenWeights

Reduction = Literal["token", "sample"]
Normalization = Literal["step", "expected"]
LossKernel = Literal["fused", "dense"]


class Objective(ABC):
    """What is minimised: L = sum_t w_t L_t / sum_t w_t, with L_t the mean loss of task t in the global batch.

    Attributes:
        reduction: token, L_t is the mean over supervised tokens; sample, over samples of the means of their tokens.
        normalization: step, over the tasks and tokens that came; expected, over those that the mixture promises to a
            step, which gives every task its weight although it is often absent.
        loss_kernel: fused, the logits never exist at once; dense, they do: slower and larger, the reference.
    """

    reduction: Reduction
    normalization: Normalization
    loss_kernel: LossKernel

    def denominators(self, batch: Batch, num_tasks: int) -> Tensor:
        """[T] float64: what each task's mean is over, its supervised tokens in `batch` or its samples that have any."""
        units = batch.supervised if self.reduction == "token" else (batch.supervised > 0)
        return torch.zeros(num_tasks, dtype=torch.float64).index_add_(0, batch.tasks, units.double())

    @abstractmethod
    def losses(self, model: nn.Module, batch: Batch, weights: TokenWeights) -> tuple[Tensor, Tensor]:
        """The loss of one micro-batch, and what each task adds to it.

        A batch without any target gives a zero that is tied to the parameters, so that no rank waits for another.

        Args:
            model: a LossModel, or an engine's wrapping of one.
            batch: on the device of `model`.
            weights: on the same device.

        Returns:
            The loss, a scalar: sum over t of coefficients[t] * total[t], each token's part with its focal factor; and
            the totals [T] float64, detached: sums of the tasks' losses without that factor.
        """
