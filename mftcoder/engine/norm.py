"""The global gradient norm and its clipping, the same on every engine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def squared(gradients: Sequence[Tensor]) -> Tensor:
    """The sum of squares of all gradients: a float64 scalar on the CPU.

    Norms are taken tensor by tensor in at least float32 and added in float64, since bfloat16 would round them to
    three digits and the squares of float32 could overflow.
    """
    norms: list[Tensor] = []
    for dtype in {g.dtype for g in gradients}:
        same = [g for g in gradients if g.dtype == dtype]
        norms += torch._foreach_norm(same, 2, dtype=torch.promote_types(dtype, torch.float32))
    if not norms:
        return torch.zeros((), dtype=torch.float64)
    wide = torch.promote_types(torch.float32, norms[0].dtype)
    return torch.stack([n.to(wide) for n in norms]).cpu().double().square().sum()


def scale_down(gradients: Sequence[Tensor], norm: float, max_norm: float | None) -> None:
    """Multiply the gradients, whose global norm is `norm`, so that it becomes `max_norm` if it was above."""
    if max_norm is not None and norm > max_norm:
        torch._foreach_mul_(list(gradients), max_norm / norm)
