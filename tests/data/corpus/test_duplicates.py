"""Duplicates, against counting by hand and against Jaccard indices worked out in full."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mftcoder.data.corpus.duplicates import Duplicates, Places, exact, near, shingles

TRAIN, VALID, TEST = 0, 1, 2


def places(*where: tuple[int, int]) -> Places:
    task, split = np.array(where, dtype=np.int64).reshape(-1, 2).T
    return Places(task=task, split=split)


def keyed(keys: Sequence[int], where: Sequence[tuple[int, int]], num_tasks: int) -> list[list[NDArray[np.uint64]]]:
    """The keys of the samples at each place, [split][task]."""

    def at(task: int, split: int) -> NDArray[np.uint64]:
        return np.array([key for key, place in zip(keys, where, strict=True) if place == (task, split)], np.uint64)

    return [[at(task, split) for task in range(num_tasks)] for split in (TRAIN, VALID, TEST)]


def numbers(duplicates: Duplicates) -> list[list[int]]:
    return [duplicates.within.tolist(), duplicates.across.tolist(), duplicates.leaked.tolist()]


def by_hand(same: Sequence[Sequence[bool]], where: Sequence[tuple[int, int]], num_tasks: int) -> list[list[int]]:
    """The definition, pair by pair; same[i][j] says whether samples i and j are alike."""
    counts = [[0] * num_tasks for _ in range(3)]
    for i, (task, split) in enumerate(where):
        fellows = [j for j in range(len(where)) if j != i and same[i][j]]
        counts[0][task] += any(j < i and where[j] == (task, split) for j in fellows)
        counts[1][task] += any(where[j][0] != task for j in fellows)
        counts[2][task] += split != TRAIN and any(where[j][1] == TRAIN for j in fellows)
    return counts


def test_exact_duplicates_by_hand() -> None:
    where = [(0, TRAIN), (0, TRAIN), (1, TRAIN), (0, VALID), (0, VALID), (1, TEST), (1, TRAIN)]
    assert numbers(exact(keyed([7, 7, 7, 7, 7, 9, 5], where, 2))) == [[2, 0], [4, 1], [2, 0]]


@given(st.lists(st.tuples(st.integers(0, 3), st.tuples(st.integers(0, 2), st.integers(0, 2))), max_size=12))
def test_exact_duplicates_are_what_they_are_by_definition(samples: list[tuple[int, tuple[int, int]]]) -> None:
    keys, where = [key for key, _ in samples], [place for _, place in samples]
    same = [[a == b for b in keys] for a in keys]
    assert numbers(exact(keyed(keys, where, 3))) == by_hand(same, where, 3)


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    runs = [{tuple(ids[i : i + 5].tolist()) for i in range(len(ids) - 4)} for ids in (a, b)]
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])


def test_near_duplicates_are_those_with_a_high_jaccard_index() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 50_000, 400).astype(np.int32)
    changed = first.copy()
    changed[[50, 300]] += 1
    half = np.concatenate([first[:300], rng.integers(0, 50_000, 100).astype(np.int32)])
    samples = [first, changed, half, first, rng.integers(0, 50_000, 400).astype(np.int32)]
    where = [(0, TRAIN), (0, TRAIN), (0, TRAIN), (1, VALID), (1, TRAIN)]
    same = [[jaccard(a, b) >= 0.8 for b in samples] for a in samples]
    assert jaccard(first, changed) > 0.94
    assert jaccard(first, half) < 0.65
    assert same[0] == [True, True, False, True, False]
    assert numbers(near(iter(samples), places(*where), 2, 0.8)) == by_hand(same, where, 2) == [[1, 0], [2, 1], [0, 1]]


@pytest.mark.parametrize("length", [0, 1, 4, 5, 6])
def test_short_samples_have_shingles_too(length: int) -> None:
    ids = np.arange(length, dtype=np.int32)
    assert len(shingles(ids)) == max(1, length - 4)
    assert shingles(ids) == shingles(ids.copy())


def test_the_order_of_tokens_counts() -> None:
    assert shingles(np.array([1, 2, 3], np.int32)) != shingles(np.array([3, 2, 1], np.int32))
    assert shingles(np.array([0, 0], np.int32)) != shingles(np.array([0], np.int32))
