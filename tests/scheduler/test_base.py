"""What all schedules share: the warm-up, the ends, and the refusals."""

from __future__ import annotations

import pytest

from mftcoder.core.errors import UserError
from mftcoder.scheduler.base import Schedule
from mftcoder.scheduler.constant import Constant
from mftcoder.scheduler.cosine import Cosine
from mftcoder.scheduler.linear import Linear
from mftcoder.scheduler.wsd import WSD

FALLING = [
    Cosine(num_warmup_steps=0.1, min_lr=1e-5),
    Linear(num_warmup_steps=0.1, min_lr=1e-5),
    WSD(num_warmup_steps=0.1, min_lr=1e-5, decay_fraction=0.3, shape="sqrt"),
]


@pytest.mark.parametrize("schedule", FALLING, ids=lambda schedule: type(schedule).__name__)
@pytest.mark.parametrize("total", [1, 2, 3, 10, 101])
def test_it_rises_to_the_peak_then_falls_to_min_lr_and_stays(schedule: Schedule, total: int) -> None:
    rates = [schedule.learning_rate(2e-4, step, total) for step in range(total)]
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert max(rates) == pytest.approx(2e-4)
    assert rates[-1] > 1e-5, "the last step moves more than min_lr would"
    assert schedule.learning_rate(2e-4, total + 5, total) == pytest.approx(1e-5)


def test_a_fraction_warms_up_that_part_of_all_steps() -> None:
    rates = [Constant(num_warmup_steps=0.25).learning_rate(1.0, step, 16) for step in range(6)]
    assert rates == [0, 0.25, 0.5, 0.75, 1, 1]


@pytest.mark.parametrize("warmup", [-1, -0.1, 1.0, 10.0])
def test_a_warm_up_that_is_neither_steps_nor_a_fraction_is_refused(warmup: float) -> None:
    with pytest.raises(ValueError, match=f"num_warmup_steps: {warmup} is neither a number of steps"):
        Constant(num_warmup_steps=warmup)


def test_a_negative_min_lr_is_refused() -> None:
    with pytest.raises(ValueError, match=r"min_lr: -1e-05 is negative"):
        Cosine(num_warmup_steps=0, min_lr=-1e-5)


def test_a_min_lr_above_the_peak_is_refused_with_both_values_and_the_remedy() -> None:
    with pytest.raises(UserError, match=r"min_lr: 0.001 is above the peak learning rate 0.0001 .*; lower min_lr"):
        Cosine(num_warmup_steps=5, min_lr=1e-3).learning_rate(1e-4, 0, 10)
