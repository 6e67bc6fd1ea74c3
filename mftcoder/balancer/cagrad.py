"""CAGrad: the direction near the mean gradient that helps the worst-off task most."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mftcoder.balancer.base import GradientBalancer

TOLERANCE = 1e-9
"""Of the gap between the best and the worst task's slope, relative to the largest gradient, at which z is optimal."""
SWEEPS = 200
"""Exchanges per task after which z is taken as it is."""


class CAGrad(GradientBalancer):
    """Conflict-averse gradient descent (Liu, Liu, Jin, Stone and Liu, NeurIPS 2021).

    d maximises min_t g_t . d subject to ||d - g_0|| <= c ||g_0||, with g_0 the mean gradient:
    d = g_0 + c ||g_0|| g_z / ||g_z||, g_z = sum_t z_t g_t, where z minimises g_z . g_0 + c ||g_0|| ||g_z|| over the
    simplex. With weights w the tasks' losses are n w_t L_t, n the number of tasks that came, so that g_0 is the
    weighted gradient.
    c: from 0, the mean gradient, to below 1; larger values give the worst-off task more say.
    rescale: divide by 1 + c ** 2, as the authors' code does, so that the direction is about as long as g_0.
    """

    def __init__(self, *, c: float, rescale: bool) -> None:
        if not 0 <= c < 1:
            raise ValueError(f"c: {c} is not from 0 to below 1, where the method converges to the optimum of the mean")
        self.c = c
        self.rescale = rescale

    def coefficients(self, step: int, gram: Tensor, weights: Tensor) -> Tensor:
        """The part [T] of each g_t in d."""
        here = weights > 0
        scale = weights[here].numpy() * int(here.sum())
        products = gram[here][:, here].numpy() * np.outer(scale, scale)
        radius = self.c * math.sqrt(max(products.mean(), 0.0)) if len(products) else 0.0
        parts = np.full(len(scale), 1 / max(len(scale), 1))
        if radius > 0:
            z = worst_case(products.mean(axis=1), products, radius)
            parts += radius / math.sqrt(max(z @ products @ z, 1e-16 * products.max())) * z
        shrink = 1 + self.c**2 if self.rescale else 1.0
        result = torch.zeros_like(weights)
        result[here] = torch.from_numpy(parts * scale / shrink)
        return result


def worst_case(linear: NDArray[np.float64], products: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """The z [n] on the simplex that minimises linear . z + radius * sqrt(z . products . z).

    Weight is moved from the task with the largest slope to the one with the smallest, by an exact line search, until
    the slopes of all tasks that have weight are the same. For two tasks one exchange is the solution.
    """
    number = len(linear)
    z = np.full(number, 1 / number)
    tolerance = TOLERANCE * radius * math.sqrt(products.diagonal().max())
    for _ in range(SWEEPS * number):
        image = products @ z
        square = max(float(z @ image), 1e-300)
        slopes = linear + radius * image / math.sqrt(square)
        giver, taker = int(np.where(z > 0, slopes, -np.inf).argmax()), int(slopes.argmin())
        if slopes[giver] - slopes[taker] <= tolerance:
            break
        curvature = products[taker, taker] + products[giver, giver] - 2 * products[taker, giver]
        along = image[taker] - image[giver]
        amount = _line_minimum((linear[taker] - linear[giver]) / radius, square, along, max(curvature, 1e-300))
        amount = min(max(amount, 0.0), z[giver])
        z[taker] += amount
        z[giver] -= amount
    return z


def _line_minimum(slope: float, square: float, along: float, curvature: float) -> float:
    """The x that minimises slope * x + sqrt(square + 2 * along * x + curvature * x ** 2); infinite if none does."""
    if slope**2 >= curvature:
        return math.inf if slope < 0 else -math.inf
    offset = max(square - along**2 / curvature, 0.0) / (curvature - slope**2)
    return float((-slope * math.sqrt(offset * curvature) - along) / curvature)
