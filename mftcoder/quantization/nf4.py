"""4-bit normal floats, as QLoRA stores the frozen base."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel
from typing_extensions import override

from mftcoder.quantization.base import Quantization


class NF4(Quantization):
    """Blocks of 64 weights with one scale, each weight one of 16 quantiles of the normal distribution.

    Args:
        double_quant: quantise the blocks' scales too, which saves 0.37 bit a weight.
        compute_dtype: of the matrix products; auto: the model's.
        quant_storage: dtype that the packed bytes are stored as; engines that shard parameters (FSDP2, ZeRO-3) need
            that of the rest of the model, which auto takes.

    Source: QLoRA, arXiv:2305.14314.
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
    def quantised(self, net: PreTrainedModel, device: torch.device, linear: nn.Linear) -> nn.Module:
        from bitsandbytes.nn import Linear4bit, Params4bit

        config = net.config.quantization_config
        storage = config.bnb_4bit_quant_storage
        layer = Linear4bit(
            linear.in_features,
            linear.out_features,
            bias=False,
            compute_dtype=config.bnb_4bit_compute_dtype,
            compress_statistics=self.double_quant,
            quant_type="nf4",
            quant_storage=storage,
            device="meta",
        )
        packing = {"quant_type": "nf4", "compress_statistics": self.double_quant, "quant_storage": storage}
        layer.weight = Params4bit(linear.weight.data, requires_grad=False, module=layer, **packing)
        return cast(nn.Module, layer.to(device))

    @override
    def prepare(self, net: PreTrainedModel, device: torch.device) -> None:
        from bitsandbytes.nn import Linear4bit

        super().prepare(net, device)
        for module in net.modules():
            if isinstance(module, Linear4bit):
                # Where the CPU has AVX512-BF16, bitsandbytes 0.50 repacks the weights at the first evaluation, with
                # scales rounded to bfloat16, and computes wrong gradients from then on. This is its switch for that.
                module.support_avx512bf16_for_cpu = False
