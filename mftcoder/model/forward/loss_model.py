"""The module that engines wrap: a micro-batch goes in, its loss and per-task totals come out."""

from __future__ import annotations

from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from transformers import PreTrainedModel

from mftcoder.core.batch import IGNORED, Batch
from mftcoder.core.coefficients import TokenWeights
from mftcoder.core.errors import UserError
from mftcoder.model.forward.attention import packing_arguments, use_packed_attention
from mftcoder.model.forward.linear_loss import Kernel, Targets, Transform, dense_cross_entropy, linear_cross_entropy
from mftcoder.model.forward.sequence_parallel import own_part, shared_attention

KERNELS: dict[str, Kernel] = {"fused": linear_cross_entropy, "dense": dense_cross_entropy}


class LossModel(nn.Module):
    """A causal language model together with its loss, so that everything that needs its weights runs inside forward.

    Engines that gather or shard weights (FSDP2, ZeRO-3) arm their hooks there; the logits never leave it.
    group: processes that share each row, and call forward with the same batches; each gets its own part of the loss.
    """

    def __init__(
        self, net: PreTrainedModel | PeftModel, *, loss_kernel: str, packed: bool, group: ProcessGroup | None = None
    ) -> None:
        super().__init__()
        self.net = net
        self.group = group
        self.kernel = KERNELS[loss_kernel]
        self.transform = _transform(self.causal.config)
        if group is not None and not packed:
            raise UserError(
                f"engine.context_parallel={group.size()} shares packed rows only; take data.padding_mode=pack"
            )
        if packed:
            use_packed_attention(self.causal, None if group is None else shared_attention(self.causal, group))

    @property
    def causal(self) -> PreTrainedModel:
        """The network without its adapter's wrapping; no submodule by itself, or engines would meet it twice."""
        return cast(PreTrainedModel, self.net.get_base_model() if isinstance(self.net, PeftModel) else self.net)

    @property
    def head(self) -> nn.Module:
        """The output head, which forward calls piece by piece: engines must keep its weights whole meanwhile."""
        return cast(nn.Module, self.causal.get_output_embeddings())

    def hidden(self, batch: Batch) -> Tensor:
        """The last hidden states, [R * L, H]."""
        packing = {} if batch.boundaries is None else packing_arguments(self.causal, batch.boundaries)
        backbone = getattr(self.causal, self.causal.base_model_prefix)
        output = backbone(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            **{"attention_mask": None, **packing},
            use_cache=False,
        )
        return cast(Tensor, output[0]).flatten(0, 1)

    def forward(self, batch: Batch, token_scale: Tensor, weights: TokenWeights) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and what each task adds to it.

        Args:
            batch: a micro-batch of S samples.
            token_scale: [S] float64, what a target of each sample counts in its task's total.
            weights: coefficients [T] float64 of the totals in the loss, and the focal exponent.

        Returns:
            The loss, a scalar, and the detached totals [T] float64.
        """
        assert token_scale.dtype == weights.coefficients.dtype == torch.float64, "float64 at every hand-over"
        if self.group is not None:
            batch = own_part(batch, self.group)
        labels = batch.labels.flatten()
        supervised = (labels != IGNORED).nonzero().squeeze(1)
        samples = batch.sample_ids.flatten()[supervised]
        scale = token_scale[samples]
        targets = Targets(labels[supervised], batch.tasks[samples], scale, weights.coefficients, weights.focal_gamma)
        loss, totals = self.kernel(self.hidden(batch)[supervised], self.head, targets, self.transform)
        assert totals.dtype == torch.float64, "float64 at every hand-over"
        return loss, totals

    @torch.no_grad()
    def logits(self, batch: Batch) -> Tensor:
        """Transformed logits of every position, [R * L, V]: for tests and self-tests on small batches."""
        return self.transform.apply(self.head(self.hidden(batch)))


def _transform(config: Any) -> Transform:
    """What the architecture does to its logits (gemma: soft-cap; cohere: a factor; granite: a divisor)."""
    scale = getattr(config, "logit_scale", None) or 1.0 / (getattr(config, "logits_scaling", None) or 1.0)
    return Transform(scale=float(scale), softcap=getattr(config, "final_logit_softcapping", None))
