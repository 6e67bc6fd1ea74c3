"""Which device a process works on, and in which precision its forward passes run."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal

import torch

from mftcoder.core.errors import UserError
from mftcoder.engine.base import MixedPrecision

Device = Literal["auto", "cpu", "cuda", "mps"]


def choose_device(choice: Device) -> torch.device:
    """The device of `choice`. Raises UserError where this machine does not have it."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if choice == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    if not available[choice]:
        has = ", ".join(name for name, there in available.items() if there)
        raise UserError(f"engine.device: {choice} is not available, only {has}; take engine.device=auto")
    return torch.device(choice)


def uses_bf16(choice: MixedPrecision, device: torch.device) -> bool:
    """Whether bf16 was chosen, or auto meets a GPU that computes in it."""
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return choice == "bf16" or (choice == "auto" and fast)


def autocast(choice: MixedPrecision, device: torch.device) -> AbstractContextManager[Any]:
    """Forward passes in bf16 where that is used, else in the model's own precision."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=uses_bf16(choice, device))
