"""What a process computes on: its device, the precision of its forward passes, and how it reuses memory."""

from __future__ import annotations

import ctypes
import os
import platform
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch

from mftcoder.core.errors import UserError
from mftcoder.engine.base import MixedPrecision

Device = Literal["auto", "cpu", "cuda", "mps"]

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # parameters of mallopt(3)
KEPT = 2**30
KEPT_BY_OLD_VERSIONS = 2**25
GROWTH = 2**26


def choose_device(choice: Device) -> torch.device:
    """The device of `choice`; auto takes cuda where there is one, else cpu.

    Apple's mps is never chosen by itself: it has no float64, in which counts and per-task losses are summed.

    Raises:
        UserError: where this machine does not have it.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if choice == "auto":
        return torch.device("cuda" if available["cuda"] else "cpu")
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


def keep_freed_memory() -> bool:
    """Lets glibc reuse freed blocks of up to a GiB: a setting of the whole process, not of the engine alone.

    By itself glibc maps each large block anew, and the system fills every page of it with zeros when it is first
    touched: on a CPU that is nearly a tenth of a training step, whose tensors have the same sizes again and again.
    The price is that freed memory is not returned to the system. Nothing is changed with another C library, or where
    the environment sets MALLOC_* variables: they win.

    Returns:
        Whether the setting was changed.

    Source: mallopt(3), called through ctypes, since neither Python nor PyTorch offers it.
    """
    chosen = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if chosen or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mapped = mallopt(M_MMAP_THRESHOLD, KEPT) or mallopt(M_MMAP_THRESHOLD, KEPT_BY_OLD_VERSIONS)
    return bool(mapped and mallopt(M_TRIM_THRESHOLD, -1) and mallopt(M_TOP_PAD, GROWTH))
