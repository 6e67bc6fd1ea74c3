"""Which parameters weight decay touches: matrices do, norms, biases and other vectors do not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from mftcoder.core.errors import UserError


def decay_groups(named_parameters: Iterable[tuple[str, nn.Parameter]], weight_decay: float) -> list[dict[str, Any]]:
    """Optimizer groups of the trainable parameters: the decayed first, then the others with weight_decay 0.

    Within a group the parameters keep the order in which they came, so that the same model always gives the same
    groups and an optimizer state finds its parameters again. A group without parameters is left out.
    Raises UserError where nothing trains.
    """
    decayed: list[nn.Parameter] = []
    undecayed: list[nn.Parameter] = []
    total = 0
    for name, parameter in named_parameters:
        total += parameter.numel()
        if parameter.requires_grad:
            (decayed if _decays(name, parameter) else undecayed).append(parameter)
    if not decayed and not undecayed:
        raise UserError(f"peft: none of {total:,} parameters is trainable; choose peft=lora, or peft=none to train all")
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _decays(name: str, parameter: nn.Parameter) -> bool:
    # ZeRO-3 leaves an empty vector in place of a parameter and keeps its true shape here.
    shape = getattr(parameter, "ds_shape", parameter.shape)
    # Mixture-of-experts layers stack their biases into matrices.
    return len(shape) >= 2 and not name.endswith("bias")
