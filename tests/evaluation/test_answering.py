"""Answers are cut before the first stop sequence."""

import pytest

from mftcoder.evaluation.answering import cut


@pytest.mark.parametrize(
    ("text", "stop", "kept"),
    [("a\nb\nc", ["\nc", "\nb"], "a"), ("a", ["b"], "a"), ("ab", ["a"], ""), ("ab", [], "ab")],
)
def test_cut(text, stop, kept):
    assert cut(text, stop) == kept
