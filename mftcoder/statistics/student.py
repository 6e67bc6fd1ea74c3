"""What a few differences say of their mean: Student's t, and Holm's correction for looking at several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, stdev

LEVEL = 0.95
HALVINGS = 200  # more than a float has bits


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The interval at 95 % for the mean of what `values`, two at least, were drawn from."""
    error = stdev(values) / math.sqrt(len(values))
    reach = quantile(len(values) - 1) * error
    return mean(values) - reach, mean(values) + reach


def probability(values: Sequence[float]) -> float:
    """How probable a mean as far from 0 as that of `values`, two at least, would be if the true one were 0."""
    error = stdev(values) / math.sqrt(len(values))
    if error == 0.0:
        return 1.0 if mean(values) == 0.0 else 0.0
    return 1.0 - within(abs(mean(values)) / error, len(values) - 1)


def quantile(freedom: int) -> float:
    """The t that |T| does not exceed with a probability of 0.95, for `freedom` degrees of freedom."""
    low, high = 0.0, 1000.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, freedom) < LEVEL else (low, middle)
    return high


def within(t: float, freedom: int) -> float:
    """P(|T| < t) for Student's T with an integer number of degrees of freedom.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for order in range(odd, freedom - 1, 2):
        total += term
        term *= cosine**2 * (order + 1) / (order + 2)
    return (angle + sine * total) * 2 / math.pi if odd else sine * total


def holm(probabilities: Sequence[float]) -> list[bool]:
    """Which of several findings stand, so that all together are wrong in at most one of twenty cases.

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    stands = [False] * len(probabilities)
    for rank, index in enumerate(sorted(range(len(probabilities)), key=probabilities.__getitem__)):
        if probabilities[index] > (1 - LEVEL) / (len(probabilities) - rank):
            break
        stands[index] = True
    return stands
