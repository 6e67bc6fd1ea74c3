"""Where an answer begins and ends in a sample."""

import numpy as np
import pytest

from mftcoder.core.batch import Sample
from mftcoder.evaluation.held_out import answer_of


@pytest.mark.parametrize(
    ("supervised", "expected"), [("0001100", (3, 5)), ("0111", (1, 4)), ("00101", (2, 3)), ("0011", (2, 4))]
)
def test_the_first_run_of_targets_is_the_answer(supervised, expected):
    mask = np.array([c == "1" for c in supervised])
    assert answer_of(Sample(np.zeros(len(mask), np.int32), mask, 0, 0)) == expected
