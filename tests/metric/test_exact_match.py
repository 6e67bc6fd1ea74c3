"""Exact matches, with and without the space around an answer."""

import pytest

from mftcoder.metric.base import Answered
from mftcoder.metric.exact_match import ExactMatch


@pytest.mark.parametrize(
    ("answer", "ignoring", "strict"),
    [("x = 1", 1, 1), ("\nx = 1 \n", 1, 0), ("x  = 1", 0, 0), ("X = 1", 0, 0), ("", 0, 0)],
)
def test_matches(answer, ignoring, strict):
    sample = Answered(task="t", key="1", reference="x = 1", answers=[answer])
    assert ExactMatch(ignore_outer_whitespace=True).measure([sample]).tolist() == [[ignoring, 1]]
    assert ExactMatch(ignore_outer_whitespace=False).measure([sample]).tolist() == [[strict, 1]]


def test_several_answers_to_one_question_are_one_sample():
    sample = Answered(task="t", key="1", reference="a", answers=["a", "b", "a", "c"])
    assert ExactMatch(ignore_outer_whitespace=True).measure([sample]).tolist() == [[0.5, 1]]
