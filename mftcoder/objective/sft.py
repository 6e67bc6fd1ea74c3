"""Supervised fine-tuning: the cross-entropy of what the template marks as the assistant's words."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from mftcoder.core.batch import Batch
from mftcoder.core.coefficients import TokenWeights
from mftcoder.objective.base import LossKernel, Normalization, Objective, Reduction


class SFT(Objective):
    """Next-token cross-entropy on the supervised tokens of each sample."""

    def __init__(self, *, reduction: Reduction, normalization: Normalization, loss_kernel: LossKernel) -> None:
        self.reduction = reduction
        self.normalization = normalization
        self.loss_kernel = loss_kernel

    def losses(self, model: nn.Module, batch: Batch, weights: TokenWeights) -> tuple[Tensor, Tensor]:
        """See Objective.losses."""
        supervised = batch.supervised.clamp(min=1).to(weights.coefficients.dtype)
        token_scale = torch.ones_like(supervised) if self.reduction == "token" else 1 / supervised
        return cast(tuple[Tensor, Tensor], model(batch, token_scale, weights))
