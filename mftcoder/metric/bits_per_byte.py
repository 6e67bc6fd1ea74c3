"""Bits a byte of the references, which compares models with different tokenizers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mftcoder.metric.base import Answered, Array, Metric


class BitsPerByte(Metric):
    """Bits in which the model would write down the targets, over the bytes of their text.

    The end token costs bits and has no bytes. Source: Gao et al., The Pile, arXiv:2101.00027, section 3.1.
    """

    needs = "losses"
    larger_is_better = False
    scale = 1.0
    unit = "bits a byte"

    def measure(self, samples: Sequence[Answered]) -> Array:
        """[n, 2]: bits and bytes of each sample."""
        return np.array([[sample.nats / math.log(2), sample.bytes] for sample in samples], dtype=np.float64)
