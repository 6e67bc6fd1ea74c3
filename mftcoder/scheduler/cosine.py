"""The learning rate falls from its peak to min_lr along half a cosine."""

from __future__ import annotations

import math

from mftcoder.scheduler.base import Schedule


class Cosine(Schedule):
    """decay(p) = (1 + cos(pi p)) / 2, after Loshchilov and Hutter, arXiv 1608.03983, without restarts."""

    def decay(self, progress: float) -> float:
        """Slow at both ends, fastest in the middle."""
        return 0.5 * (1.0 + math.cos(math.pi * progress))
