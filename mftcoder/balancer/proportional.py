"""Every token (or sample) counts the same, whichever task it belongs to."""

from __future__ import annotations

from torch import Tensor

from mftcoder.balancer.base import Balancer


class Proportional(Balancer):
    """w_t = N_t, the units of task t in the step, so that the loss is the mean over all units, as without tasks.

    With normalization=expected it is their sum over the number that the mixture promises.
    """

    def weights(self, step: int, counts: Tensor) -> Tensor:
        """The counts [T] themselves."""
        return counts
