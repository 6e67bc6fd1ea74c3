"""The loss of the references: nats a token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mftcoder.metric.base import Answered, Array, Metric


class Loss(Metric):
    """Mean negative log-likelihood of the targets, in nats a token: what training lowers."""

    needs = "losses"
    larger_is_better = False
    scale = 1.0
    unit = "nats a token"

    def measure(self, samples: Sequence[Answered]) -> Array:
        """[n, 2]: nats and targets of each sample."""
        return np.array([[sample.nats, sample.tokens] for sample in samples], dtype=np.float64)
