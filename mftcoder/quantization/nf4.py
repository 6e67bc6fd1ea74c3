"""4-bit normal floats, as QLoRA stores the frozen base."""

from __future__ import annotations

from typing import Literal

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel
from typing_extensions import override

from mftcoder.quantization.base import Quantization


class NF4(Quantization):
    """Blocks of 64 weights with one scale, each weight one of 16 quantiles of the normal distribution (2305.14314).

    double_quant: quantise the blocks' scales too, which saves 0.37 bit a weight. compute_dtype: that of the matrix
    products; quant_storage: the dtype that the packed bytes pose as, which engines that shard parameters (FSDP2,
    ZeRO-3) need to be that of the rest of the model. For both, auto takes the model's.
    """

    def __init__(
        self,
        *,
        double_quant: bool,
        compute_dtype: Literal["auto", "float32", "bfloat16"],
        quant_storage: Literal["auto", "uint8", "bfloat16", "float32"],
    ) -> None:
        self.double_quant = double_quant
        self.compute_dtype = compute_dtype
        self.quant_storage = quant_storage

    @override
    def config(self, dtype: torch.dtype) -> BitsAndBytesConfig:
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=self.double_quant,
            bnb_4bit_compute_dtype=dtype if self.compute_dtype == "auto" else self.compute_dtype,
            bnb_4bit_quant_storage=dtype if self.quant_storage == "auto" else self.quant_storage,
        )

    @property
    @override
    def bits(self) -> float:
        scale = 8 + 32 / 256 if self.double_quant else 32  # of a block; doubly: 8 bits, and 32 for each 256 blocks
        return 4 + scale / 64

    @override
    def prepare(self, net: PreTrainedModel) -> None:
        from bitsandbytes.nn import Linear4bit

        super().prepare(net)
        for module in net.modules():
            if isinstance(module, Linear4bit):
                # Where the CPU has AVX512-BF16, bitsandbytes 0.50 repacks the weights at the first evaluation, with
                # scales rounded to bfloat16, and computes wrong gradients from then on. This is its switch for that.
                module.support_avx512bf16_for_cpu = False
