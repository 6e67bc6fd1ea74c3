"""Answers whose tests pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mftcoder.metric.base import Answered, Array, Metric, mean_of


class Execution(Metric):
    """The part of answers whose tests pass when they are run."""

    needs = "execution"

    def measure(self, samples: Sequence[Answered]) -> Array:
        """[n, 2]: the part of each sample's answers that pass, and 1."""
        return mean_of([float(np.mean(sample.passed)) for sample in samples])
