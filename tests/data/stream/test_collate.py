"""Batches against hand-written ones."""

import numpy as np
import pytest

from mftcoder.core.batch import IGNORED, Sample
from mftcoder.data.stream.collate import collate

X = IGNORED
SAMPLES = [
    Sample(np.array([5, 6, 7], np.int32), np.array([0, 1, 1], bool), task=1, index=0),
    Sample(np.array([8, 9], np.int32), np.array([1, 1], bool), task=0, index=3),  # the first token is never a target
]


def test_packed():
    batch = collate(SAMPLES, padding_mode="pack", pad_id=0)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1]]
    assert batch.labels.tolist() == [[6, 7, X, 9, X]]
    assert batch.sample_ids.tolist() == [[0, 0, 0, 1, 1]]
    assert batch.boundaries.tolist() == [0, 3, 5]
    assert batch.tasks.tolist() == [1, 0]
    assert batch.supervised.tolist() == [2, 1]
    assert batch.tokens_by_task(3).tolist() == [2, 3, 0]


def test_padded():
    batch = collate(SAMPLES, padding_mode="padding", pad_id=42)
    assert batch.input_ids.tolist() == [[5, 6, 7], [8, 9, 42]]
    assert batch.position_ids.tolist() == [[0, 1, 2], [0, 1, 2]]
    assert batch.labels.tolist() == [[6, 7, X], [9, X, X]]
    assert batch.sample_ids.tolist() == [[0, 0, 0], [1, 1, 0]]
    assert batch.boundaries is None
    assert batch.lengths.tolist() == [3, 2]


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="0 samples; it needs at least one"):
        collate([], padding_mode="pack", pad_id=0)
