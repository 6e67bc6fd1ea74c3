"""The contract of all learning-rate schedules."""

from __future__ import annotations

from abc import ABC, abstractmethod

from mftcoder.core.errors import UserError


class Schedule(ABC):
    """A pure function of the step, testable without an optimizer.

    num_warmup_steps: optimizer steps if an int, a fraction of all steps if a float below 1.
    min_lr: the learning rate that the decay ends at, reached by the last step.
    """

    def __init__(self, *, num_warmup_steps: int | float, min_lr: float) -> None:
        if num_warmup_steps < 0 or (isinstance(num_warmup_steps, float) and num_warmup_steps >= 1):
            raise ValueError(
                f"num_warmup_steps: {num_warmup_steps} is neither a number of steps (an int from 0) "
                "nor a fraction of all steps (from 0.0 to below 1.0)"
            )
        if min_lr < 0:
            raise ValueError(f"min_lr: {min_lr} is negative; give the learning rate to end at, from 0.0")
        self.num_warmup_steps = num_warmup_steps
        self.min_lr = min_lr

    def learning_rate(self, peak: float, step: int, total_steps: int) -> float:
        """The learning rate of step `step` (from 0) of `total_steps`, for the peak learning rate `peak`.

        The first step has peak / warm-up steps, never 0; the last has min_lr, and where that is 0 changes nothing.
        Raises UserError where min_lr is above `peak`.
        """
        if self.min_lr > peak:
            raise UserError(
                f"scheduler.min_lr: {self.min_lr} is above the peak learning rate {peak} (optimizer.lr); "
                "lower min_lr (a tenth of the peak is usual) or raise optimizer.lr"
            )
        warmup = self.num_warmup_steps
        if isinstance(warmup, float):
            warmup = round(warmup * total_steps)
        if step < warmup:
            return peak * (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, total_steps - 1 - warmup))
        return self.min_lr + (peak - self.min_lr) * self.decay(progress)

    @abstractmethod
    def decay(self, progress: float) -> float:
        """What is left of the way from the peak (1) down to min_lr (0) after `progress` from 0 to 1."""
