"""One sentence on whether a model got better at a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mftcoder.metric.base import Metric
from mftcoder.statistics.intervals import LEVEL, Interval

Change = Literal["better", "worse", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is said of two models at one task by one metric.

    Args:
        change: whether the second is better or worse beyond chance.
        words: the same with the numbers.
        difference: second minus first, in the metric's own scale, with its interval.
        p: two-sided, of this comparison alone.
        corrected_p: the same, corrected for all comparisons that were made.
    """

    change: Change
    words: str
    difference: Interval
    p: float
    corrected_p: float


def verdict(metric: Metric, difference: Interval, *, p: float, corrected_p: float, noun: str = "samples") -> Verdict:
    """Better or worse where the corrected p-value is below 0.05; otherwise what the samples could not show.

    Args:
        metric: says which direction is better, and in which unit differences are told.
        difference: second minus first.
        p, corrected_p: see Verdict.
        noun: of what was counted, "samples" or "problems".
    """
    number = difference.estimate * metric.scale
    if corrected_p >= 1 - LEVEL or number == 0:
        change: Change = "none"
        words = f"no difference that {difference.samples:,} {noun} could show"
    else:
        change = "better" if (number > 0) == metric.larger_is_better else "worse"
        words = f"{change} by {told(metric, abs(number), difference.reach * metric.scale)}"
    return Verdict(change=change, words=words, difference=difference, p=p, corrected_p=corrected_p)


def told(metric: Metric, number: float, reach: float) -> str:
    """A number with half of its interval's width and its unit: "4.1 ± 1.2 points"."""
    digits = 1 if metric.scale == 100 else 4
    return f"{number:.{digits}f} ± {reach:.{digits}f} {metric.unit}"
