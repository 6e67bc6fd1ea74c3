"""Learning rates of our schedules, and of transformers' at the same steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mftcoder.scheduler.base import Schedule

PEAK = 2e-4


def rates(schedule: Schedule, total: int) -> list[float]:
    """Of every step, as a thing to compare approximately."""
    return pytest.approx([schedule.learning_rate(PEAK, step, total) for step in range(total)], rel=1e-9, abs=1e-15)


def theirs(get: Callable[..., Any], total: int, *arguments: int, **settings: Any) -> list[float]:
    """What an optimizer steps with under a schedule of transformers."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    schedule = get(optimizer, *arguments, **settings)
    found = []
    for _ in range(total):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found
