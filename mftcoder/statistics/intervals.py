"""A score over samples, and the difference of two over the same samples, each with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from mftcoder.statistics.bootstrap import Array, Score, studentised

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the bounds between which the true value is expected; NaN where one sample says nothing of them.

    Args:
        estimate: over the samples that there are.
        low, high: of the interval.
        samples: how many they are.
    """

    estimate: float
    low: float
    high: float
    samples: int

    @property
    def reach(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2


def interval(stats: Array, score: Score, *, level: float = LEVEL) -> Interval:
    """The score of a model.

    Where each sample passes or fails, Wilson's interval; otherwise bootstrap-t.

    Args:
        stats: [n, d], of each sample; see Metric.measure.
        score: see Metric.score.
        level: the part of repetitions in which the interval is to hold the true score.

    Source: Wilson, JASA 22 (1927); for language models, Bowyer et al., arXiv:2503.01747.
    """
    number = len(stats)
    estimate = float(score(stats.sum(0)))
    if passes_or_fails(stats, score):
        return Interval(estimate, *wilson(estimate, number, level), number)
    bounds = studentised(stats, score, level) if number > 1 else (np.nan, np.nan)
    return Interval(estimate, *bounds, number)


def difference(before: Array, after: Array, score: Score, *, level: float = LEVEL) -> Interval:
    """The score of `after` minus that of `before`, from pairs.

    Args:
        before, after: [n, d], of the same samples in the same order.
        score: see Metric.score.
        level: as for `interval`. Passes and failures get Bonett and Price's interval.

    Source: Bonett and Price, Statistics in Medicine 31 (2012); on pairing, Miller, arXiv:2411.00640.
    """
    number, size = before.shape
    if passes_or_fails(before, score) and passes_or_fails(after, score):
        gained, lost = _discordant(before, after)
        return Interval((gained - lost) / number, *bonett_price(gained, lost, number, level), number)
    pairs = np.concatenate([before, after], axis=1)

    def apart(sums: Array) -> Array:
        return score(sums[..., size:]) - score(sums[..., :size])

    estimate = float(apart(pairs.sum(0)))
    bounds = studentised(pairs, apart, level) if number > 1 else (np.nan, np.nan)
    return Interval(estimate, *bounds, number)


def passes_or_fails(stats: Array, score: Score) -> bool:
    """Whether the score is the part of samples that pass."""
    if stats.shape[1] != 2 or (stats[:, 1] != 1).any() or not np.isin(stats[:, 0], (0, 1)).all():
        return False
    return float(score(np.array([1.0, 2.0]))) == 0.5  # a mean, not its exponential


def wilson(part: float, number: int, level: float) -> tuple[float, float]:
    """The score interval of a binomial proportion."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle = (part + z * z / (2 * number)) / (1 + z * z / number)
    reach = z / (1 + z * z / number) * np.sqrt(part * (1 - part) / number + z * z / (4 * number * number))
    return max(0.0, float(middle - reach)), min(1.0, float(middle + reach))


def bonett_price(gained: int, lost: int, number: int, level: float) -> tuple[float, float]:
    """The interval of the difference of two paired proportions, with one added to each kind of discordant pair."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    up, down = (gained + 1) / (number + 2), (lost + 1) / (number + 2)
    reach = z * np.sqrt((up + down - (up - down) ** 2) / (number + 2))
    return max(-1.0, float(up - down - reach)), min(1.0, float(up - down + reach))


def _discordant(before: Array, after: Array) -> tuple[int, int]:
    """How many samples pass only after, and how many only before."""
    change = after[:, 0] - before[:, 0]
    return int((change > 0).sum()), int((change < 0).sum())
