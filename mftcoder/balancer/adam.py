"""Adam for a handful of task parameters, some of which have no gradient at times."""

from __future__ import annotations

import torch
from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def adam(values: Tensor, gradient: Tensor, moments: Tensor, lr: float, weight_decay: float) -> tuple[Tensor, Tensor]:
    """One step on `values` [T]; the new values and moments [3, T] (first, second, number of steps; zeros at first).

    Kingma and Ba, ICLR 2015, with weight_decay * values added to the gradient. Where the gradient is NaN, the value,
    its moments and its clock stand still: a task that is absent for a while comes back as it left.
    """
    here = ~gradient.isnan()
    g = gradient + weight_decay * values
    first = BETA1 * moments[0] + (1 - BETA1) * g
    second = BETA2 * moments[1] + (1 - BETA2) * g * g
    count = moments[2] + 1
    step = lr * (first / (1 - BETA1**count)) / ((second / (1 - BETA2**count)).sqrt() + EPSILON)
    return torch.where(here, values - step, values), torch.where(here, torch.stack([first, second, count]), moments)
