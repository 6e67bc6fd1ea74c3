"""The part of answers that pass."""

from mftcoder.metric.base import Answered
from mftcoder.metric.execution import Execution


def test_a_sample_counts_once_whatever_the_number_of_its_answers():
    one = Answered(task="t", key="1", answers=["a"], passed=[True])
    four = Answered(task="t", key="2", answers=list("abcd"), passed=[True, False, False, False])
    metric = Execution()
    assert metric.measure([one, four]).tolist() == [[1, 1], [0.25, 1]]
    assert metric.score(metric.measure([one, four]).sum(0)) == 0.625
