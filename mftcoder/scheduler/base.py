"""The contract of all learning-rate schedules."""

from __future__ import annotations

from abc import ABC, abstractmethod

from mftcoder.core.errors import UserError
from mftcoder.core.lengths import in_steps


class Schedule(ABC):
    """The learning rate as a pure function of the step, equal to transformers' schedule of the same name.

    As there, a warm-up begins with a rate of 0 (of min_lr for wsd), step `num_warmup_steps` has the peak, and min_lr
    would come with the step after the last, which has a rate above it.

    Args:
        num_warmup_steps: optimizer steps if an int, a fraction of all steps if a float below 1.
        min_lr: the learning rate that the decay ends at; None for a tenth of the peak.

    Raises:
        ValueError: one of them is out of its range.
    """

    warms_up_from_min_lr = False

    def __init__(self, *, num_warmup_steps: int | float, min_lr: float | None) -> None:
        if num_warmup_steps < 0 or (isinstance(num_warmup_steps, float) and num_warmup_steps >= 1):
            raise ValueError(
                f"num_warmup_steps: {num_warmup_steps} is neither a number of steps (an int from 0) "
                "nor a fraction of all steps (from 0.0 to below 1.0)"
            )
        if min_lr is not None and min_lr < 0:
            raise ValueError(f"min_lr: {min_lr} is negative; give the learning rate to end at, from 0.0")
        self.num_warmup_steps = num_warmup_steps
        self.min_lr = min_lr

    def warmup(self, total_steps: int) -> int:
        """Steps of the warm-up of a run of `total_steps`."""
        return in_steps(self.num_warmup_steps, total_steps, least=0)

    def learning_rate(self, peak: float, step: int, total_steps: int) -> float:
        """The learning rate of one step.

        Args:
            peak: the rate after the warm-up, that of the parameter group.
            step: from 0.
            total_steps: of the run.

        Raises:
            UserError: min_lr is above `peak`.
        """
        lowest = 0.1 * peak if self.min_lr is None else self.min_lr
        if lowest > peak:
            raise UserError(
                f"scheduler.min_lr: {lowest} is above the peak learning rate {peak} (optimizer.lr); "
                "lower min_lr (a tenth of the peak is usual) or raise optimizer.lr"
            )
        warmup = self.warmup(total_steps)
        if step < warmup:
            start = lowest if self.warms_up_from_min_lr else 0.0
            return start + (peak - start) * step / warmup
        progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        return lowest + (peak - lowest) * self.decay(progress)

    @abstractmethod
    def decay(self, progress: float) -> float:
        """What is left of the way from the peak (1) down to min_lr (0) after `progress` from 0 to 1."""
