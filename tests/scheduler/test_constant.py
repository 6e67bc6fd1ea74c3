"""The constant schedule against transformers' own and against hand values."""

from __future__ import annotations

import pytest
import torch
from transformers import get_constant_schedule_with_warmup

from mftcoder.scheduler.constant import Constant


def test_it_is_transformers_schedule_whose_warm_up_begins_one_step_later() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2e-4)
    theirs = get_constant_schedule_with_warmup(optimizer, 4)
    ours = Constant(num_warmup_steps=4)
    for step in range(10):
        optimizer.step()
        theirs.step()
        assert ours.learning_rate(2e-4, step, 10) == pytest.approx(theirs.get_last_lr()[0], rel=1e-12)


def test_it_never_leaves_the_peak() -> None:
    assert [Constant(num_warmup_steps=0).learning_rate(3e-4, step, 3) for step in range(5)] == [3e-4] * 5
