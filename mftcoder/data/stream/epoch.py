"""How much there is of each task, and how much an epoch is."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Literal

from mftcoder.core.errors import UserError
from mftcoder.data.corpus.tables import Split
from mftcoder.data.stream.shares import Shares, with_floor

Stop = Literal["first_exhausted", "all_exhausted", "max_tokens"]


class Inventory:
    """What a split holds of each task.

    Args:
        split: the samples.
        by_tokens: whether shares are of tokens, or else of samples.

    Attributes:
        tokens: [T], tokens of each task.
        samples: [T], samples of each task.
        amounts: [T], those of the two that shares are of.
        tokens_per_sample: None if shares are of tokens; if they are of samples, the mean length of all samples.
    """

    def __init__(self, split: Split, *, by_tokens: bool) -> None:
        tasks = range(split.num_tasks)
        self.tokens = [split.num_tokens(task) for task in tasks]
        self.samples = [split.num_samples(task) for task in tasks]
        self.amounts = self.tokens if by_tokens else self.samples
        self.tokens_per_sample = None if by_tokens else sum(self.tokens) / sum(self.samples)

    def stratified(self, shares: Sequence[float], *, samples: int | None, tokens: float) -> list[float]:
        """Shares with which every task that has any gets one sample a step on average.

        Args:
            shares: [T], wanted.
            samples: of a step where their number is fixed (one a pack), or None.
            tokens: of a step otherwise.

        Raises:
            UserError: a step is too small for a sample of every task.
        """
        means = [t / n if n else 1.0 for t, n in zip(self.tokens, self.samples, strict=True)]
        of_tokens = shares if self.tokens_per_sample is None else reweighted(shares, means)
        of_samples = reweighted(of_tokens, [1 / mean for mean in means])
        if samples is None:
            of_tokens = with_floor(of_tokens, [mean / tokens for mean in means])
            of_samples = reweighted(of_tokens, [1 / mean for mean in means])
        else:
            of_samples = with_floor(of_samples, [1 / samples] * len(means))
            of_tokens = reweighted(of_samples, means)
        return list(of_tokens if self.tokens_per_sample is None else of_samples)


def reweighted(shares: Sequence[float], factors: Sequence[float]) -> list[float]:
    """Shares in proportion to share * factor, summing to 1."""
    weights = [share * factor for share, factor in zip(shares, factors, strict=True)]
    return [weight / sum(weights) for weight in weights]


def epoch_size(shares: Shares, inventory: Inventory, stop: Stop, max_tokens: int | None) -> float:
    """Tokens (or samples) of an epoch: until the first or the last task was seen once, or `max_tokens`.

    Raises:
        UserError: no task is ever seen whole.
    """
    if max_tokens is not None:
        return max_tokens / (inventory.tokens_per_sample or 1)
    seen = [shares.total_at(task, amount) for task, amount in enumerate(inventory.amounts) if amount]
    within = [total for total in seen if total < inf]
    if not within:
        raise UserError(
            f"data.tasks: with repeats below 1 none of {len(inventory.amounts)} tasks is ever seen whole, so that "
            "there is no epoch; use data.stop=max_tokens"
        )
    return min(within) if stop == "first_exhausted" else max(within)
