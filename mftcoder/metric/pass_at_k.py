"""Whether one of k answers passes: pass@k."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

from mftcoder.metric.base import Answered, Array, Metric, mean_of


class PassAtK(Metric):
    """The unbiased estimate, from n answers of which c pass, of the probability that one of k passes.

    1 - C(n - c, k) / C(n, k), mean over problems. Source: Chen et al., arXiv:2107.03374, eq. (1).

    Args:
        k: one or several; each is a score of its own, pass@<k>.

    Raises:
        ValueError: for a k below 1, or none.
    """

    needs = "execution"

    def __init__(self, *, k: list[int]) -> None:
        if not k or min(k) < 1:
            raise ValueError(f"k: {k} are not numbers from 1 on")
        self.k = k

    def scores(self, name: str) -> dict[str, Metric]:
        """One for each k: pass@1, pass@10, …"""
        return {f"pass@{k}": PassAtK(k=[k]) for k in self.k}

    def measure(self, samples: Sequence[Answered]) -> Array:
        """[n, 2]: the estimate for each problem with the first k, and 1.

        Raises:
            ValueError: where a problem has fewer than k answers.
        """
        k = self.k[0]
        if short := [sample.key for sample in samples if len(sample.passed) < k]:
            raise ValueError(f"k: {k} is more than the answers to {short[0]}; set num_return_sequences to as many")
        return mean_of([estimate(len(sample.passed), sum(sample.passed), k) for sample in samples])


def estimate(number: int, correct: int, k: int) -> float:
    """The probability that one of k answers, drawn from `number` of which `correct` pass, passes."""
    return 1.0 - comb(number - correct, k) / comb(number, k)
