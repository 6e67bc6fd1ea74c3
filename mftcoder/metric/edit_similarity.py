"""How little of an answer would have to be changed to get the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mftcoder.metric.base import Answered, Array, Metric, over_answers


class EditSimilarity(Metric):
    """1 - Levenshtein(answer, reference) / length of the longer, in characters.

    Source: CodeXGLUE, arXiv:2102.04664, section 5 (code completion).

    Args:
        ignore_outer_whitespace: whether spaces and lines before and after do not count.
    """

    def __init__(self, *, ignore_outer_whitespace: bool) -> None:
        self.ignore_outer_whitespace = ignore_outer_whitespace

    def measure(self, samples: Sequence[Answered]) -> Array:
        """[n, 2]: the mean similarity of each sample's answers, and 1."""
        return over_answers(samples, self.similarity)

    def similarity(self, answer: str, reference: str) -> float:
        """From 0 (nothing in common) to 1 (equal); two empty texts are equal."""
        if self.ignore_outer_whitespace:
            answer, reference = answer.strip(), reference.strip()
        longer = max(len(answer), len(reference))
        return 1.0 - levenshtein(answer, reference) / longer if longer else 1.0


def levenshtein(first: str, second: str) -> int:
    """The fewest insertions, deletions and replacements of characters that turn one text into the other.

    The table is worked out a row at a time; along a row, insertions are a running minimum.

    Source: Wagner and Fischer, Journal of the ACM 21 (1974).
    """
    letters = np.frombuffer(second.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    at = np.arange(len(second) + 1)
    row = at.copy()
    for number, letter in enumerate(first, start=1):
        following = np.empty_like(row)
        following[0] = number
        following[1:] = np.minimum(row[1:] + 1, row[:-1] + (letters != ord(letter)))
        row = np.minimum.accumulate(following - at) + at
    return int(row[-1])
