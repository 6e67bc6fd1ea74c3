"""The gradient of each task by itself, at the price of one ordinary step.

Since the objective does not care how a global batch is split, each task's samples may as well run as micro-batches of
their own: together they are the tokens of one step, and the gradients of the tasks' mean losses come apart.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import reduce

import psutil
import torch
from torch import Tensor, nn

from mftcoder.core.batch import Batch
from mftcoder.core.coefficients import TokenWeights
from mftcoder.core.errors import UserError
from mftcoder.engine.base import Engine
from mftcoder.objective.base import Objective


def task_gradients(
    engine: Engine,
    objective: Objective,
    batches: Sequence[Sequence[Batch]],
    denominators: Tensor,
    focal_gamma: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the tasks' mean losses over the global batch, and those losses. Leaves no gradient behind.

    Args:
        engine: with whole gradients.
        objective: gives the losses.
        batches: [T] lists of this rank's micro-batches of one task each.
        denominators: [T] float64, what each mean is over, on all ranks.
        focal_gamma: see TokenWeights.

    Returns:
        Summed over all ranks: gradients [T, P], zeros for absent tasks, in a precision that loses none of the
        parameters'; mean losses [T] float64, with the focal factor; totals [T] float64, without it.

    Raises:
        UserError: the gradients do not fit into the memory of the device.
    """
    parameters = list(engine.parameters())
    gradients = _empty(parameters, len(denominators), engine.device)
    sums = torch.zeros(2, len(denominators), dtype=torch.float64)
    for task, own in enumerate(batches):
        coefficients = torch.zeros_like(denominators)
        coefficients[task] = 1 / denominators[task].clamp(min=1)
        weights = TokenWeights(coefficients.to(engine.device), focal_gamma)
        for batch in own:
            with engine.micro_batch(last=False):
                loss, total = objective.losses(engine.model, batch, weights)
                engine.backward(loss)
            sums[0, task] += loss.detach().double().cpu()
            sums[1] += total.cpu()
        if own:
            gradients[task] = _take(parameters)
    means, totals = engine.sum(sums)
    return engine.sum(gradients), means, totals


def _empty(parameters: Sequence[nn.Parameter], num_tasks: int, device: torch.device) -> Tensor:
    """Zeros [T, P] in a type that holds every parameter's."""
    dtype = reduce(torch.promote_types, (p.dtype for p in parameters))
    size = sum(p.numel() for p in parameters)
    needed, free = num_tasks * size * dtype.itemsize, _free_bytes(device)
    if needed > free:
        raise UserError(
            f"the gradients of {num_tasks} tasks by {size:,} trainable parameters take {needed / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB are free on {device}; take peft=lora with a smaller rank, a balancer that looks at "
            "losses, or training.diagnostics_steps=null"
        )
    return torch.zeros(num_tasks, size, dtype=dtype, device=device)


def _free_bytes(device: torch.device) -> int:
    """What may still be allocated: memory that nobody has, and on a GPU what its allocator has set aside."""
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    return psutil.virtual_memory().available if device.type == "cpu" else sys.maxsize


def set_gradient(engine: Engine, direction: Tensor) -> None:
    """Make `direction` [P] the gradient that the next engine.step follows."""
    at = 0
    for parameter in engine.parameters():
        part = direction[at : at + parameter.numel()]
        parameter.grad = part.view_as(parameter).to(parameter.dtype).clone()
        at += parameter.numel()


def cosines(gradients: Tensor) -> tuple[Tensor, Tensor]:
    """Norms [T] and cosines [T, T] of task gradients [T, P], in float64; NaN for a task without a gradient."""
    products = (gradients @ gradients.T).double().cpu()
    norms = products.diagonal().clamp(min=0).sqrt()
    return norms, products / (norms[:, None] * norms[None, :])


def _take(parameters: Sequence[nn.Parameter]) -> Tensor:
    """The gradients of `parameters` as one vector; they are cleared."""
    parts = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters]
    for parameter in parameters:
        parameter.grad = None
    return torch.cat(parts)
