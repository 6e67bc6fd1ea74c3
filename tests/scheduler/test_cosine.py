"""The cosine against transformers' own and against hand values."""

from __future__ import annotations

import pytest
import torch
from transformers import get_cosine_with_min_lr_schedule_with_warmup

from mftcoder.scheduler.cosine import Cosine


@pytest.mark.parametrize(("warmup", "total"), [(0, 11), (3, 11), (5, 100)])
def test_it_is_transformers_schedule_with_both_ends_reached(warmup: int, total: int) -> None:
    """Theirs starts its warm-up at 0 and would end one step after the last; ours has no such lost steps."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2e-4)
    theirs = get_cosine_with_min_lr_schedule_with_warmup(optimizer, warmup, total - 1, min_lr=1e-5)
    ours = Cosine(num_warmup_steps=warmup, min_lr=1e-5)
    for step in range(total):
        if step >= warmup:
            expected = theirs.get_last_lr()[0]
            assert ours.learning_rate(2e-4, step, total) == pytest.approx(expected, rel=1e-12)
        optimizer.step()
        theirs.step()


def test_hand_values() -> None:
    """Two warm-up steps to 1.0, then 5 steps over half a cosine to 0.2: cos of 0, 45, 90, 135 and 180 degrees."""
    cosine = Cosine(num_warmup_steps=2, min_lr=0.2)
    rates = [cosine.learning_rate(1.0, step, 7) for step in range(7)]
    half = 0.5**0.5
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.6 + 0.4 * half, 0.6, 0.6 - 0.4 * half, 0.2], rel=1e-15)
