"""The learning rate falls from its peak to min_lr in a straight line."""

from __future__ import annotations

from mftcoder.scheduler.base import Schedule


class Linear(Schedule):
    """decay(p) = 1 - p."""

    def decay(self, progress: float) -> float:
        """The rest of the way."""
        return 1.0 - progress
