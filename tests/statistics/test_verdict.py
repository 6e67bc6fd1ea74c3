"""Verdicts in words, in the direction and the unit of the metric."""

import pytest

from mftcoder.metric.base import Metric
from mftcoder.statistics.intervals import Interval
from mftcoder.statistics.verdict import verdict


class Rate(Metric):
    def measure(self, samples):
        raise AssertionError


class Loss(Rate):
    larger_is_better = False
    scale = 1.0
    unit = "nats a token"


@pytest.mark.parametrize(
    ("metric", "estimate", "p", "change", "words"),
    [
        (Rate(), 0.041, 0.01, "better", "better by 4.1 ± 1.2 points"),
        (Rate(), -0.041, 0.01, "worse", "worse by 4.1 ± 1.2 points"),
        (Rate(), 0.041, 0.06, "none", "no difference that 164 problems could show"),
        (Loss(), -0.25, 0.01, "better", "better by 0.2500 ± 0.0120 nats a token"),
        (Loss(), 0.25, 0.01, "worse", "worse by 0.2500 ± 0.0120 nats a token"),
        (Loss(), 0.0, 0.01, "none", "no difference that 164 problems could show"),
    ],
)
def test_words(metric, estimate, p, change, words):
    found = verdict(
        metric, Interval(estimate, estimate - 0.012, estimate + 0.012, 164), p=p / 2, corrected_p=p, noun="problems"
    )
    assert (found.change, found.words) == (change, words)
