"""The fused, weighted, per-task linear cross-entropy: the logits of a batch never exist at once.

Only the supervised positions meet the head, a chunk at a time; the gradient of a chunk's loss is computed as soon as
its logits are there, with every token's coefficient folded in, and the logits are dropped. So the memory is that of one
chunk, and the head runs forward once and backward once. The head is called as a module: a bias, an adapter on
it, a tied or a frozen weight are all right, and only what is trainable costs a gradient.

Related: the chunked losses of Liger-Kernel (arXiv 2410.10989) and Cut Cross-Entropy (arXiv 2411.09009), which return
one mean; the coefficients, the per-task sums and the focal factor are what a multi-task objective adds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

CHUNK_BYTES = 64 * 2**20  # of float logits
# On a GPU: at least 256 positions of vocabularies up to 256k, from where on the arithmetic takes longer than reading
# the head once a chunk. Memory that happens to be free does not count: with it the sums' last bits would change.
CUDA_CHUNK_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Targets:
    """What M supervised positions are to predict, and what each is worth.

    labels, tasks: [M] int64. units: [M], the share of its task's unit that a token makes: 1 for token means,
    1 / (targets of its sample) for sample means. coefficients: [T], the weight of each task's units in the loss.
    focal_gamma: exponent of the factor (1 - p) ** gamma on each token's loss (arXiv 1708.02002); 0 for none.
    """

    labels: Tensor
    tasks: Tensor
    units: Tensor
    coefficients: Tensor
    focal_gamma: float = 0.0


@dataclass(frozen=True, slots=True)
class Transform:
    """What a model does to its logits after the head: z -> softcap * tanh(scale * z / softcap)."""

    scale: float = 1.0
    softcap: float | None = None

    def apply(self, logits: Tensor) -> Tensor:
        """The transformed logits."""
        logits = logits if self.scale == 1.0 else logits * self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def slope(self, transformed: Tensor) -> Tensor | None:
        """The derivative of the soft-cap where it gave `transformed`; None where there is no soft-cap."""
        return None if self.softcap is None else 1 - (transformed / self.softcap).square_()


def linear_cross_entropy(
    hidden: Tensor, head: nn.Module, targets: Targets, transform: Transform, chunk_tokens: int | None = None
) -> tuple[Tensor, Tensor]:
    """Loss and per-task totals of hidden states [M, H] that `head` turns into logits [M, V].

    loss = sum over i of coefficients[task_i] * unit_i * (1 - p_i) ** gamma * ce_i, a scalar in hidden's accuracy
    (float32 at least); totals [T] = sum of unit_i * ce_i over the tokens of each task, detached. With M = 0 the loss is
    a zero that is tied to the hidden states and to the head.
    """
    trainable = [p for p in head.parameters() if p.requires_grad]
    if len(hidden) == 0:
        zero = hidden.sum() * 0 + sum((p.sum() * 0 for p in trainable), hidden.new_zeros(()))
        return zero, torch.zeros_like(targets.coefficients)
    # Inside of forward gradients are off, and parameters ask for theirs also where nobody takes it (validation).
    need = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (hidden, *trainable))
    loss, totals = _Fused.apply(  # type: ignore[no-untyped-call]
        hidden, head, targets, transform, chunk_tokens, need, *trainable
    )
    return loss, totals


def dense_cross_entropy(
    hidden: Tensor, head: nn.Module, targets: Targets, transform: Transform
) -> tuple[Tensor, Tensor]:
    """The same as linear_cross_entropy, through all logits at once: the reference, and `loss_kernel: dense`."""
    logits = transform.apply(_upcast(head(hidden)))
    ce = nn.functional.cross_entropy(logits, targets.labels, reduction="none") if len(hidden) else logits.sum(-1)
    weights = (targets.coefficients[targets.tasks] * targets.units).to(ce)
    loss = (weights * _focal(ce, targets.focal_gamma)).sum() + hidden.sum() * 0
    totals = torch.zeros_like(targets.coefficients)
    return loss, totals.index_add_(0, targets.tasks, (ce.detach() * targets.units).to(totals))


class _Fused(torch.autograd.Function):
    """Computes the gradient in the forward pass; backward only scales it by what comes from above."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: nn.Module,
        targets: Targets,
        transform: Transform,
        chunk_tokens: int | None,
        need: bool,
        *trainable: Tensor,
    ) -> tuple[Tensor, Tensor]:
        totals = torch.zeros_like(targets.coefficients)
        loss = torch.zeros((), dtype=_accumulator(hidden), device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if need else hidden
        grads = [torch.zeros_like(p, dtype=_accumulator(p)) for p in trainable if need]
        size = chunk_tokens or _chunk_tokens(head, hidden)
        for start in range(0, len(hidden), size):
            part = slice(start, start + size)
            with torch.set_grad_enabled(need):
                chunk = hidden[part].detach().requires_grad_(need)
                raw = head(chunk)
            ce, gradient = _chunk(raw.detach(), part, targets, transform, need=need)
            units = targets.units[part].to(ce)
            weights = targets.coefficients[targets.tasks[part]].to(ce) * units
            loss += (weights * _focal(ce, targets.focal_gamma)).sum()
            totals.index_add_(0, targets.tasks[part], (ce * units).to(totals))
            if need:
                # The gradient leaves this function for the chunk and the trainable parameters only.
                here = torch.autograd.grad(raw, [chunk, *trainable], gradient.to(raw.dtype))
                grad_hidden[part] = here[0]
                if grads:
                    torch._foreach_add_(grads, here[1:])
        if need:
            ctx.save_for_backward(grad_hidden, *(g.to(p.dtype) for g, p in zip(grads, trainable, strict=True)))
        ctx.mark_non_differentiable(totals)
        return loss, totals

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, *grads = ctx.saved_tensors
        upstream = grad_outputs[0]
        return (
            upstream.to(grad_hidden.dtype) * grad_hidden,
            *(None,) * 5,
            *(upstream.to(g.dtype) * g for g in grads),
        )


def _chunk(raw: Tensor, part: slice, targets: Targets, transform: Transform, *, need: bool) -> tuple[Tensor, Tensor]:
    """Cross-entropies [C] of one chunk's head outputs [C, V] and, if needed, the loss's gradient in them, [C, V].

    Works in place wherever it can, so `raw` may be overwritten: no linear head keeps what it gave out.
    """
    logits = transform.apply(_upcast(raw))
    labels = targets.labels[part]
    softcap_slope = transform.slope(logits) if need else None
    top, own = logits.amax(-1, keepdim=True), logits.gather(1, labels[:, None])
    odds = logits.sub_(top).exp_()
    total = odds.sum(-1, keepdim=True)
    ce = (total.log() + (top - own)).squeeze(1)  # in this order: top would swallow a small logarithm
    if not need:
        return ce, raw
    weights = targets.coefficients[targets.tasks[part]].to(ce) * targets.units[part].to(ce)
    slope = weights * _focal_slope(ce, targets.focal_gamma) * transform.scale
    gradient = odds.mul_(slope[:, None] / total)
    gradient[torch.arange(len(labels), device=labels.device), labels] -= slope
    return ce, gradient if softcap_slope is None else gradient.mul_(softcap_slope)


def _focal(ce: Tensor, gamma: float) -> Tensor:
    """(1 - p) ** gamma * ce with p = exp(-ce)."""
    return _miss(ce) ** gamma * ce if gamma else ce


def _focal_slope(ce: Tensor, gamma: float) -> Tensor | float:
    """Derivative of _focal in ce; 0, its limit, where p is 1."""
    if not gamma:
        return 1.0
    miss = _miss(ce)
    return miss**gamma * (1 + gamma * torch.exp(-ce) * ce / miss)


def _miss(ce: Tensor) -> Tensor:
    """1 - p, exact for p near 1; never 0, where its powers and their slopes have no value but a limit."""
    return -torch.expm1(-ce.clamp_min(torch.finfo(ce.dtype).tiny))


def _upcast(logits: Tensor) -> Tensor:
    return logits.to(_accumulator(logits))


def _accumulator(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _chunk_tokens(head: nn.Module, hidden: Tensor) -> int:
    """Positions whose float logits fit the budget: the same in every run, and with it the order of all sums."""
    budget = CUDA_CHUNK_BYTES if hidden.is_cuda else CHUNK_BYTES
    vocabulary = cast(Tensor, head.weight).shape[0]
    return max(16, budget // (vocabulary * _accumulator(hidden).itemsize))


Kernel = Callable[[Tensor, nn.Module, Targets, Transform], tuple[Tensor, Tensor]]
