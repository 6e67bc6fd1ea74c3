"""What cannot be cut up over processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from mftcoder.core.errors import UserError


def sharding_conflicts(parts: Mapping[str, Any]) -> Iterator[str]:
    """Why an engine that cuts up gradients or the optimizer's state cannot run with the other components of a run."""
    if getattr(parts.get("training"), "diagnostics_steps", None) is not None:
        yield (
            "training.diagnostics_steps takes the gradients of the tasks apart, and this engine has no gradient whole; "
            "leave it null, or use engine=single or engine=ddp"
        )
    optimizer: Any = getattr(parts.get("optimizer"), "func", None)
    if getattr(optimizer, "__module__", "").startswith("bitsandbytes."):
        yield (
            f"this engine cuts up the optimizer's state, which {optimizer.__name__} keeps in blocks of 8-bit numbers "
            "with common scales; use optimizer=adamw, or engine=single or engine=ddp"
        )


def check_shardable(model: nn.Module, *, bf16: bool) -> None:
    """Raise UserError where the bytes of quantised weights would not survive being cut up, or cast to bfloat16."""
    for name, parameter in model.named_parameters():
        cast = bf16 and parameter.dtype != torch.bfloat16 and getattr(parameter, "quant_state", None) is not None
        if cast or not parameter.is_floating_point():
            raise UserError(
                f"{name} is quantised and stored as {parameter.dtype}, which this engine cannot shard: take "
                "quantization=nf4 with quantization.quant_storage=auto"
                f"{' and model.dtype=bfloat16' if bf16 else ''}, or engine=ddp"
            )
