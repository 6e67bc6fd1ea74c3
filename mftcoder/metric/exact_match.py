"""Answers that are the reference, character for character."""

from __future__ import annotations

from collections.abc import Sequence

from mftcoder.metric.base import Answered, Array, Metric, over_answers


class ExactMatch(Metric):
    """The part of answers that equal the reference.

    Args:
        ignore_outer_whitespace: whether spaces and lines before and after do not count.
    """

    def __init__(self, *, ignore_outer_whitespace: bool) -> None:
        self.ignore_outer_whitespace = ignore_outer_whitespace

    def measure(self, samples: Sequence[Answered]) -> Array:
        """[n, 2]: the part of each sample's answers that match, and 1."""
        return over_answers(samples, self.matches)

    def matches(self, answer: str, reference: str) -> bool:
        """Whether the two are equal."""
        if self.ignore_outer_whitespace:
            return answer.strip() == reference.strip()
        return answer == reference
