"""The gradient of each task by itself, at the price of one ordinary step.

Since the objective does not care how a global batch is split, each task's samples may as well run as micro-batches of
their own: together they are the tokens of one step, and the gradients of the tasks' mean losses come apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mftcoder.core.batch import Batch
from mftcoder.core.coefficients import TokenWeights
from mftcoder.engine.base import Engine
from mftcoder.objective.base import Objective


def task_gradients(
    engine: Engine,
    objective: Objective,
    batches: Sequence[Sequence[Batch]],
    denominators: Tensor,
    focal_gamma: float,
) -> tuple[Tensor, Tensor]:
    """Gradients of the tasks' mean losses over the global batch, and this rank's totals. Leaves no gradient behind.

    Args:
        engine: with whole gradients.
        objective: gives the losses.
        batches: [T] lists of this rank's micro-batches of one task each.
        denominators: [T] float64, what each mean is over, on all ranks.
        focal_gamma: see TokenWeights.

    Returns:
        Gradients [T, P], summed over all ranks, zeros for absent tasks; totals [T] float64, of this rank.
    """
    parameters = list(engine.parameters())
    gradients = torch.stack(
        [torch.zeros(sum(p.numel() for p in parameters), dtype=parameters[0].dtype)] * len(denominators)
    )
    gradients = gradients.to(engine.device)
    totals = torch.zeros_like(denominators)
    for task, own in enumerate(batches):
        coefficients = torch.zeros_like(denominators)
        coefficients[task] = 1 / denominators[task].clamp(min=1)
        weights = TokenWeights(coefficients.to(engine.device), focal_gamma)
        for batch in own:
            with engine.micro_batch(last=False):
                loss, total = objective.losses(engine.model, batch, weights)
                engine.backward(loss)
            totals += total.cpu()
        if own:
            gradients[task] = _take(parameters)
    return engine.sum(gradients), totals


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


def _take(parameters: Sequence[torch.nn.Parameter]) -> Tensor:
    """The gradients of `parameters` as one vector; they are cleared."""
    parts = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters]
    for parameter in parameters:
        parameter.grad = None
    return torch.cat(parts)
