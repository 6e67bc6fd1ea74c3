"""One autograd function for an adapted linear layer: y = x W' + b + s (x A') B', in place of PEFT's five.

PEFT adds the low-rank term in passes of their own over [N, out], forward and backward; here both products end in the
sum that they belong to, and all that is kept for the backward pass is x and x A', [N, rank].
"""

from __future__ import annotations

from typing import Any, cast

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from typing_extensions import override


def fuse(net: nn.Module) -> None:
    """Let every adapted linear layer of `net` compute as one function wherever that gives the same.

    Only what they compute changes: they stay PEFT's, which saves, loads, merges and switches them as ever.
    """
    for module in net.modules():
        if type(module) is Linear:
            module.__class__ = FusedLinear


class FusedLinear(Linear):  # type: ignore[misc]
    """PEFT's layer, which does by itself all that is not the plain case."""

    @override
    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        parts = None if args or kwargs else self._plain(x)
        if parts is None:
            return cast(Tensor, super().forward(x, *args, **kwargs))
        base, a, b, scale = parts
        dtype = torch.get_autocast_dtype(x.device.type) if _autocasts(x) else x.dtype
        return cast(Tensor, _LowRankLinear.apply(x, base.weight, base.bias, a, b, scale, dtype))  # type: ignore[no-untyped-call]

    def _plain(self, x: Tensor) -> tuple[nn.Linear, Tensor, Tensor, float] | None:
        """Base layer, A, B and scale where there is nothing else to the layer; None where PEFT must see to it.

        That is with several adapters or none, merged ones, dropout, DoRA and other variants, weights of the base that
        train, mixed precisions, and where an engine hooks into the parts (ZeRO-3 fetches their weights so).
        """
        name = self.active_adapters[0] if len(self.active_adapters) == 1 else None
        if self.disable_adapters or self.merged or self.lora_variant or name not in self.lora_A:
            return None
        base, a, b, dropout = self.get_base_layer(), self.lora_A[name], self.lora_B[name], self.lora_dropout[name]
        trains = any(p.requires_grad for p in base.parameters())
        drops = self.training and not isinstance(dropout, nn.Identity)
        mixed = not _autocasts(x) and any(t.dtype != x.dtype for t in (base.weight, a.weight, b.weight))
        other = type(base) is not nn.Linear or b.bias is not None or any(map(_hooked, (base, a, b)))
        return None if trains or drops or mixed or other else (base, a.weight, b.weight, self.scaling[name])


class _LowRankLinear(torch.autograd.Function):
    """x [..., in], weight [out, in], bias [out] or None, a [rank, in], b [out, rank]; all of it computes in `dtype`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float, dtype: torch.dtype
    ) -> Tensor:
        rows = x.to(dtype).flatten(0, -2)
        low = rows @ a.to(dtype).T
        out = nn.functional.linear(rows, weight.to(dtype), None if bias is None else bias.to(dtype))
        out.addmm_(low, b.to(dtype).T, alpha=scale)
        ctx.save_for_backward(rows, low, weight, a, b)
        ctx.scale, ctx.shape, ctx.x_dtype = scale, x.shape, x.dtype
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        rows, low, weight, a, b = ctx.saved_tensors
        grad = grad_outputs[0].flatten(0, -2)
        grad_low = (grad @ b.to(grad.dtype)).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ weight.to(grad.dtype)).addmm_(grad_low, a.to(grad.dtype))
            grad_x = grad_x.view(ctx.shape).to(ctx.x_dtype)
        grad_a = (grad_low.T @ rows).to(a.dtype)
        grad_b = (low.T @ grad).mul_(ctx.scale).T.to(b.dtype)  # twice as fast as grad' @ low on CPUs
        return grad_x, None, None, grad_a, grad_b, None, None


def _autocasts(x: Tensor) -> bool:
    return torch.is_autocast_enabled(x.device.type)


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)
