"""The perplexity of the references."""

from __future__ import annotations

import numpy as np

from mftcoder.metric.base import Array, ratio
from mftcoder.metric.loss import Loss


class Perplexity(Loss):
    """exp(loss): among how many equally likely tokens the model is as unsure."""

    unit = "of perplexity"

    def score(self, sums: Array) -> Array:
        """exp of nats over targets."""
        return np.exp(ratio(sums))
