"""PCGrad: no task's gradient points against another's."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mftcoder.balancer.base import GradientBalancer


class PCGrad(GradientBalancer):
    """Project conflicting gradients (Yu et al., NeurIPS 2020).

    For every task i, g_i' = g_i; for the other tasks j in random order: where g_i' . g_j < 0, g_i' loses its part along
    g_j. The direction is sum_i w_i g_i'; tasks without weight have no say. All g_i' are sums of the g_k, so their inner
    products follow from those of the g_k, and the tasks i are treated side by side.
    seed: the order is a function of the seed and the step alone, the same on all ranks and after a resume.
    """

    def __init__(self, *, seed: int) -> None:
        self.seed = seed

    def coefficients(self, step: int, gram: Tensor, weights: Tensor) -> Tensor:
        """The part [T] of each g_k in the direction."""
        here = (weights > 0).numpy()
        products, number = gram.numpy() * np.outer(here, here), len(gram)
        rows = np.arange(number)
        orders = np.random.default_rng([self.seed, step]).permuted(np.tile(rows, (number, 1)), axis=1)
        norms = np.maximum(products.diagonal(), 1e-300)
        mix = np.eye(number)  # mix[i, k]: the part of g_k in g_i'
        inner = products.copy()  # inner[i, k] = g_i' . g_k
        for others in orders.T:
            along = np.where(others == rows, 0.0, np.maximum(-inner[rows, others], 0.0) / norms[others])
            mix[rows, others] += along
            inner += along[:, None] * products[others]
        return weights @ torch.from_numpy(mix)
