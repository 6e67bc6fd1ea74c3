"""The line against transformers' own and against hand values."""

from __future__ import annotations

import pytest
from schedules import rates, theirs
from transformers import get_linear_schedule_with_warmup

from mftcoder.scheduler.linear import Linear


@pytest.mark.parametrize(("warmup", "total"), [(0, 1), (0, 11), (3, 11), (5, 100), (11, 11), (20, 11)])
def test_it_is_transformers_schedule_at_every_step(warmup: int, total: int) -> None:
    ours = Linear(num_warmup_steps=warmup, min_lr=0.0)
    assert rates(ours, total) == theirs(get_linear_schedule_with_warmup, total, warmup, total)


def test_hand_values() -> None:
    linear = Linear(num_warmup_steps=2, min_lr=0.2)
    found = [linear.learning_rate(1.0, step, 6) for step in range(7)]
    assert found == pytest.approx([0, 0.5, 1.0, 0.8, 0.6, 0.4, 0.2], rel=1e-15)
