"""Warm-up, stable, decay against transformers' own and against hand values."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from transformers import get_wsd_schedule

from mftcoder.scheduler.wsd import WSD


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_it_is_transformers_schedule_with_both_ends_reached(shape: Literal["linear", "cosine"]) -> None:
    """2 warm-up steps, 15 stable ones, and 5 intervals down: of 20 intervals after the warm-up, a quarter decays."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2e-4)
    theirs = get_wsd_schedule(
        optimizer, num_warmup_steps=2, num_decay_steps=5, num_stable_steps=15, decay_type=shape, min_lr_ratio=0.1
    )
    ours = WSD(num_warmup_steps=2, min_lr=2e-5, decay_fraction=0.25, shape=shape)
    for step in range(23):
        if step >= 2:
            assert ours.learning_rate(2e-4, step, 23) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        theirs.step()


def test_hand_values_of_the_square_root() -> None:
    """9 steps are 8 intervals; the last half decays: 1 - sqrt of 0, 1/4, 1/2, 3/4 and 1."""
    wsd = WSD(num_warmup_steps=0, min_lr=0.0, decay_fraction=0.5, shape="sqrt")
    rates = [wsd.learning_rate(1.0, step, 9) for step in range(9)]
    assert rates == pytest.approx([1, 1, 1, 1, 1, 0.5, 1 - 0.5**0.5, 1 - 0.75**0.5, 0], abs=1e-15)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1])
def test_a_fraction_that_is_none_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=rf"decay_fraction: {fraction} is not a share"):
        WSD(num_warmup_steps=0, min_lr=0.0, decay_fraction=fraction, shape="sqrt")
