"""The cosine against transformers' own and against hand values."""

from __future__ import annotations

import pytest
from schedules import PEAK, rates, theirs
from transformers import get_cosine_schedule_with_warmup, get_cosine_with_min_lr_schedule_with_warmup

from mftcoder.scheduler.cosine import Cosine

RUNS = [(0, 1), (0, 11), (3, 11), (5, 100), (11, 11), (20, 11)]


@pytest.mark.parametrize(("warmup", "total"), RUNS)
def test_it_is_transformers_schedule_at_every_step(warmup: int, total: int) -> None:
    ours = Cosine(num_warmup_steps=warmup, min_lr=0.0)
    assert rates(ours, total) == theirs(get_cosine_schedule_with_warmup, total, warmup, total)


@pytest.mark.parametrize("min_lr", [1e-5, None])
@pytest.mark.parametrize(("warmup", "total"), RUNS)
def test_so_it_is_with_a_min_lr_of_which_null_is_a_tenth(warmup: int, total: int, min_lr: float | None) -> None:
    expected = theirs(get_cosine_with_min_lr_schedule_with_warmup, total, warmup, total, min_lr=min_lr or 0.1 * PEAK)
    assert rates(Cosine(num_warmup_steps=warmup, min_lr=min_lr), total) == expected


def test_hand_values() -> None:
    """Two warm-up steps, then half a cosine from 1.0 towards 0.2: cos of 0, 45, 90 and 135 degrees."""
    cosine = Cosine(num_warmup_steps=2, min_lr=0.2)
    half = 0.5**0.5
    found = [cosine.learning_rate(1.0, step, 6) for step in range(7)]
    assert found == pytest.approx([0, 0.5, 1.0, 0.6 + 0.4 * half, 0.6, 0.6 - 0.4 * half, 0.2], rel=1e-15)
