"""The edit distance against its definition, and the similarity."""

import random
from functools import cache

import pytest

from mftcoder.metric.base import Answered
from mftcoder.metric.edit_similarity import EditSimilarity, levenshtein


def by_definition(first: str, second: str) -> int:
    @cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        replaced = distance(i - 1, j - 1) + (first[i - 1] != second[j - 1])
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, replaced)

    return distance(len(first), len(second))


def test_the_distance_is_that_of_its_definition():
    rng = random.Random(0)
    for _ in range(200):
        first, second = ("".join(rng.choices("abé𝒳", k=rng.randint(0, 9))) for _ in range(2))
        assert levenshtein(first, second) == by_definition(first, second)


def test_a_broken_character_is_a_character():
    assert levenshtein("a\ud800", "a") == 1


@pytest.mark.parametrize(
    ("answer", "similarity"), [("abcd", 1), (" abcd\n", 1), ("abce", 0.75), ("ab", 0.5), ("", 0), ("xyzw", 0)]
)
def test_similarity(answer, similarity):
    sample = Answered(task="t", key="1", reference="abcd", answers=[answer])
    assert EditSimilarity(ignore_outer_whitespace=True).measure([sample]).tolist() == [[similarity, 1]]


def test_two_empty_texts_are_equal():
    assert EditSimilarity(ignore_outer_whitespace=False).similarity("", "") == 1
