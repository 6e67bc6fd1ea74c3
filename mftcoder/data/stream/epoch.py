"""How much there is of each task, and how much an epoch is."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Literal

from mftcoder.core.errors import UserError
from mftcoder.data.corpus.tables import Split
from mftcoder.data.stream.shares import Shares, raise_to

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

    def stratified(self, shares: Sequence[float], *, samples: int | None, tokens: float) -> list[float]:
        """Shares with which every task that has any has a sample a step on average.

        samples: those of a step, where their number is fixed; else `tokens` are.
        """
        means = [t / n if n else 1.0 for t, n in zip(self.tokens, self.samples, strict=True)]
        of_tokens = shares if self.unit is None else scaled(shares, means)
        of_samples = scaled(of_tokens, [1 / mean for mean in means])
        if samples is None:
            of_tokens = raise_to(of_tokens, [mean / tokens for mean in means])
            of_samples = scaled(of_tokens, [1 / mean for mean in means])
        else:
            of_samples = raise_to(of_samples, [1 / samples] * len(means))
            of_tokens = scaled(of_samples, means)
        return list(of_tokens if self.unit is None else of_samples)


def scaled(shares: Sequence[float], factors: Sequence[float]) -> list[float]:
    """Shares in proportion to share * factor."""
    weights = [share * factor for share, factor in zip(shares, factors, strict=True)]
    return [weight / sum(weights) for weight in weights]


def epoch(shares: Shares, sizes: Sizes, stop: Stop, max_tokens: int | None) -> float:
    """The total (tokens or samples) of an epoch: where the first or last task was seen once, or at max_tokens."""
    if max_tokens is not None:
        return max_tokens / (sizes.unit or 1)
    seen = [shares.reached(task, amount) for task, amount in enumerate(sizes.amounts) if amount]
    within = [total for total in seen if total < inf]
    if not within:
        raise UserError("data.tasks: no task is ever seen whole, so that there is no epoch; use stop=max_tokens")
    return min(within) if stop == "first_exhausted" else max(within)
