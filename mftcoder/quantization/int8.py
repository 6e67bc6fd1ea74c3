"""8-bit integers with outliers apart (LLM.int8)."""

from __future__ import annotations

import logging

import torch
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
    def prepare(self, net: PreTrainedModel) -> None:
        super().prepare(net)
        # One line for every product otherwise, although 16-bit activations are part of the method.
        logging.getLogger("bitsandbytes.autograd._functions").addFilter(_not_the_cast)


def _not_the_cast(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("MatMul8bitLt: inputs will be cast")
