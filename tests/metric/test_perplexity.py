"""Perplexity is the exponential of the loss of all targets."""

import math

import pytest

from mftcoder.metric.base import Answered
from mftcoder.metric.perplexity import Perplexity


def test_it_is_the_exponential_of_the_loss():
    samples = [Answered(task="t", key="1", nats=3.0, tokens=1), Answered(task="t", key="2", nats=3.0, tokens=5)]
    metric = Perplexity()
    assert metric.score(metric.measure(samples).sum(0)) == pytest.approx(math.e)
