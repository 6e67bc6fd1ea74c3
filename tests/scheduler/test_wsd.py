"""Warm-up, stable, decay against transformers' own and against hand values."""

from __future__ import annotations

from typing import Literal

import pytest
from schedules import PEAK, rates, theirs
from transformers import get_wsd_schedule

from mftcoder.scheduler.wsd import WSD


@pytest.mark.parametrize("min_lr", [0.0, 2e-5, None])
@pytest.mark.parametrize(("shape", "decay"), [("linear", "linear"), ("cosine", "cosine"), ("sqrt", "1-sqrt")])
def test_it_is_transformers_schedule_at_every_step(
    shape: Literal["linear", "cosine", "sqrt"], decay: str, min_lr: float | None
) -> None:
    """2 warm-up steps, 15 stable ones and 5 that decay, a quarter of the 20 after the warm-up."""
    lengths = {"num_warmup_steps": 2, "num_stable_steps": 15, "num_decay_steps": 5}
    ratio = 0.1 if min_lr is None else min_lr / PEAK
    expected = theirs(get_wsd_schedule, 22, **lengths, decay_type=decay, min_lr_ratio=ratio)
    assert rates(WSD(num_warmup_steps=2, min_lr=min_lr, decay_fraction=0.25, shape=shape), 22) == expected


def test_hand_values_of_the_square_root() -> None:
    """Of 8 steps the last half decays: 1 - sqrt of 0, 1/4, 1/2 and 3/4."""
    wsd = WSD(num_warmup_steps=0, min_lr=0.0, decay_fraction=0.5, shape="sqrt")
    found = [wsd.learning_rate(1.0, step, 8) for step in range(9)]
    assert found == pytest.approx([1, 1, 1, 1, 1, 0.5, 1 - 0.5**0.5, 1 - 0.75**0.5, 0], abs=1e-15)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1])
def test_a_fraction_that_is_none_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=rf"decay_fraction: {fraction} is not a share"):
        WSD(num_warmup_steps=0, min_lr=0.0, decay_fraction=fraction, shape="sqrt")
