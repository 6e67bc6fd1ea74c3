"""The learning rate stays at its peak after the warm-up."""

from __future__ import annotations

from mftcoder.scheduler.base import Schedule


class Constant(Schedule):
    """decay(p) = 1."""

    def __init__(self, *, num_warmup_steps: int | float) -> None:
        super().__init__(num_warmup_steps=num_warmup_steps, min_lr=0.0)

    def decay(self, progress: float) -> float:
        """Nothing is ever lost."""
        return 1.0
