"""8-bit integers with outliers apart (LLM.int8)."""

from __future__ import annotations

import logging
from typing import cast

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel
from typing_extensions import override

from mftcoder.quantization.base import Quantization


class Int8(Quantization):
    """One scale for each row of a weight, and one for each row of activations.

    Args:
        threshold: columns of the activations with a value beyond it are multiplied in 16 bits; 0 does without. Such
            columns are sought over all rows of a micro-batch: above 0, training is not invariant to the split.

    Raises:
        ValueError: `threshold` is negative.

    Source: LLM.int8, arXiv:2208.07339.
    """

    def __init__(self, *, threshold: float) -> None:
        if threshold < 0:
            raise ValueError(f"quantization.threshold: {threshold} is negative; 0 switches it off, 6.0 is the paper's")
        self.threshold = threshold

    @override
    def config(self, dtype: torch.dtype) -> BitsAndBytesConfig:
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=float(self.threshold))

    @property
    @override
    def bits(self) -> float:
        return 8.0  # A row's one scale hardly counts.

    @override
    def quantised(self, net: PreTrainedModel, device: torch.device, linear: nn.Linear) -> nn.Module:
        from bitsandbytes.nn import Int8Params, Linear8bitLt

        layer = Linear8bitLt(
            linear.in_features, linear.out_features, bias=False, has_fp16_weights=False, threshold=self.threshold
        )
        layer.weight = Int8Params(linear.weight.data, requires_grad=False, has_fp16_weights=False)
        return cast(nn.Module, layer.to(device))

    @override
    def prepare(self, net: PreTrainedModel, device: torch.device) -> None:
        super().prepare(net, device)
        if self.threshold:
            net.mixes_rows = (
                f"quantization.threshold={self.threshold}: outlier columns are sought over a whole micro-batch, so a "
                "sample's loss depends on its neighbours, and the gradient on how a batch is split"
            )
        # One line for every product otherwise, although 16-bit activations are part of the method.
        logging.getLogger("bitsandbytes.autograd._functions").addFilter(_not_the_cast)


def _not_the_cast(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("MatMul8bitLt: inputs will be cast")
