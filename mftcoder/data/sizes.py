"""How much there is of each task, and how much an epoch is."""

from __future__ import annotations

from math import inf
from typing import Literal

from mftcoder.core.errors import UserError
from mftcoder.data.corpus import Split
from mftcoder.data.shares import Shares

Stop = Literal["first_exhausted", "all_exhausted", "max_tokens"]


class Sizes:
    """What a split holds. tokens, samples: [T]. amounts: [T], those of the two that shares are of.

    mean: tokens of a sample. unit: None if shares are of tokens; if they are of samples, the mean.
    """

    def __init__(self, split: Split, *, by_tokens: bool) -> None:
        tasks = range(split.num_tasks)
        self.tokens = [split.num_tokens(task) for task in tasks]
        self.samples = [split.num_samples(task) for task in tasks]
        self.amounts = self.tokens if by_tokens else self.samples
        self.mean = sum(self.tokens) / sum(self.samples)
        self.unit = None if by_tokens else self.mean

    def of_one(self, tokens_per_step: float) -> list[float]:
        """[T] the share with which a task has one sample a step on average."""
        if self.unit:
            return [self.unit / tokens_per_step] * len(self.samples)
        means = [
            tokens / samples if samples else 0.0 for tokens, samples in zip(self.tokens, self.samples, strict=True)
        ]
        return [mean / tokens_per_step for mean in means]


def epoch(shares: Shares, sizes: Sizes, stop: Stop, max_tokens: int | None) -> float:
    """The total (tokens or samples) of an epoch: where the first or last task was seen once, or at max_tokens."""
    if max_tokens is not None:
        return max_tokens / (sizes.unit or 1)
    seen = [shares.reached(task, amount) for task, amount in enumerate(sizes.amounts) if amount]
    within = [total for total in seen if total < inf]
    if not within:
        raise UserError("data.tasks: no task is ever seen whole, so that there is no epoch; use stop=max_tokens")
    return min(within) if stop == "first_exhausted" else max(within)
