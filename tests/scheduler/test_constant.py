"""The constant schedule against transformers' own and against hand values."""

from __future__ import annotations

import pytest
from schedules import rates, theirs
from transformers import get_constant_schedule_with_warmup

from mftcoder.scheduler.constant import Constant


@pytest.mark.parametrize("warmup", [0, 1, 4, 12])
def test_it_is_transformers_schedule_at_every_step(warmup: int) -> None:
    assert rates(Constant(num_warmup_steps=warmup), 10) == theirs(get_constant_schedule_with_warmup, 10, warmup)


def test_it_never_leaves_the_peak() -> None:
    assert [Constant(num_warmup_steps=0).learning_rate(3e-4, step, 3) for step in range(5)] == [3e-4] * 5
