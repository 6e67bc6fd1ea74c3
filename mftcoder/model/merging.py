"""Combines what several fine-tunings changed in one weight, and stores a change as a low-rank product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
from peft.utils import merge_utils
from torch import Tensor

Method = Literal["linear", "task_arithmetic", "slerp", "ties", "dare", "dare_ties"]
PRUNING = ("ties", "dare", "dare_ties")
PARALLEL = 1e-6  # radians between two updates below which their arc is taken for a line


class LowRank(NamedTuple):
    """A matrix as a product, out of a LoRA layer or made by `factorised`.

    Attributes:
        down: [rank, in], LoRA's A.
        up: [out, rank], LoRA's B times the scaling of its layer.
    """

    down: Tensor
    up: Tensor

    @property
    def dense(self) -> Tensor:
        """[out, in], the matrix itself."""
        return self.up @ self.down


def combined(
    updates: Sequence[Tensor], coefficients: Sequence[float], *, method: Method, density: float, seed: int
) -> Tensor:
    """One update out of several of the same weight.

    Args:
        updates: fine-tuned weight minus base weight, of one shape, one for each input.
        coefficients: one for each update. `linear` and `slerp` use their proportions alone.
        method: see Source.
        density: fraction of each update that `ties` keeps by size, and `dare` at random.
        seed: of the random choice of `dare` and `dare_ties`.

    Raises:
        ValueError: `slerp` gets another number of updates than two, or the coefficients of a mean sum to 0.

    Source:
        linear: model soups, arXiv:2203.05482, sum_i c_i u_i / sum_i c_i. task_arithmetic: arXiv:2212.04089,
        sum_i c_i u_i. ties: arXiv:2306.01708. dare: arXiv:2311.03099. slerp: Shoemake 1985, along the arc between two
        updates. The three that prune are those of PEFT (`peft.utils.merge_utils`).
    """
    if method in ("linear", "slerp") and not sum(coefficients):
        raise ValueError(f"coefficients {list(coefficients)} sum to 0, so that they name no mean")
    if method == "slerp":
        return _slerp(updates, coefficients)
    weights = torch.tensor(coefficients, dtype=updates[0].dtype)
    if method == "linear":
        weights /= weights.sum()
    if method not in PRUNING:
        return cast(Tensor, merge_utils.task_arithmetic(list(updates), weights))
    prune = {"ties": merge_utils.ties, "dare": merge_utils.dare_linear, "dare_ties": merge_utils.dare_ties}[method]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cast(Tensor, prune(list(updates), weights, density))


def _slerp(updates: Sequence[Tensor], coefficients: Sequence[float]) -> Tensor:
    """The point at c_2 / (c_1 + c_2) of the way along the arc from one update to the other."""
    if len(updates) != 2:
        raise ValueError(f"slerp joins two inputs, not {len(updates)}; take linear for more")
    first, second = updates
    way = coefficients[1] / sum(coefficients)
    lengths = first.norm() * second.norm()
    cosine = (first * second).sum() / lengths if lengths > 0 else torch.ones(())
    angle = torch.arccos(cosine.clamp(-1, 1))
    if torch.sin(angle) < PARALLEL:
        return torch.lerp(first, second, way)
    return (torch.sin((1 - way) * angle) * first + torch.sin(way * angle) * second) / torch.sin(angle)


def concatenated(updates: Sequence[LowRank], coefficients: Sequence[float]) -> LowRank:
    """The weighted sum of low-rank updates, exactly, of a rank that is the sum of theirs."""
    down = torch.cat([update.down for update in updates])
    up = torch.cat([c * update.up for c, update in zip(coefficients, updates, strict=True)], dim=1)
    return LowRank(down, up)


def factorised(update: Tensor | LowRank, rank: int) -> tuple[LowRank, float]:
    """The nearest matrix of a given rank, as a product, and how far it is away.

    Args:
        update: the matrix [out, in], or a product of any rank.
        rank: of the result. Where the matrix has a smaller rank, the rest of the product is 0.

    Returns:
        The product, its two factors of equal norm, and the relative error in the Frobenius norm.

    Source: Eckart–Young: the truncated singular value decomposition is the nearest.
    """
    if isinstance(update, LowRank):  # Orthogonal factors first: the decomposition is then of a small core alone.
        left, upper = torch.linalg.qr(update.up)
        right, lower = torch.linalg.qr(update.down.T)
        u, values, v = torch.linalg.svd(upper @ lower.T, full_matrices=False)
        u, v = left @ u, v @ right.T
    else:
        u, values, v = torch.linalg.svd(update, full_matrices=False)
    kept = values[:rank].sqrt()
    total = values.square().sum()
    error = float((values[rank:].square().sum() / total).sqrt()) if total > 0 else 0.0
    product = LowRank(kept[:, None] * v[:rank], u[:, :rank] * kept)
    return padded(product, rank), error


def padded(product: LowRank, rank: int) -> LowRank:
    """The same matrix as a product of a rank that is as large or larger, filled up with zeros."""
    missing = rank - len(product.down)
    down, up = product
    return LowRank(torch.nn.functional.pad(down, (0, 0, 0, missing)), torch.nn.functional.pad(up, (0, missing)))
