"""The loss is that of all targets, not the mean over samples."""

import pytest

from mftcoder.metric.base import Answered
from mftcoder.metric.loss import Loss


def test_long_samples_count_by_their_targets():
    samples = [Answered(task="t", key="1", nats=3.0, tokens=1), Answered(task="t", key="2", nats=3.0, tokens=5)]
    metric = Loss()
    assert metric.score(metric.measure(samples).sum(0)) == pytest.approx(1.0)
    assert not metric.larger_is_better
