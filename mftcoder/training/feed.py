"""Global batches from the stream, and what the mixture had promised to each before it was drawn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mftcoder.data.stream.micro_batches import MicroBatcher, MicroBatches, Samples
from mftcoder.data.stream.sampler import Sampler
from mftcoder.objective.base import Objective


@dataclass
class Feed:
    """Takes the global batches of a run one after another.

    Args:
        sampler: of the packs, the same on every rank.
        batcher: this rank's part of them.
        samples: where they are read.
        size: packs in a micro-batch.
        objective: whether it needs what the mixture promises, and of what.
    """

    sampler: Sampler
    batcher: MicroBatcher
    samples: Samples
    size: int
    objective: Objective

    def __post_init__(self) -> None:
        self._expected: Tensor | None = None

    def take(self) -> MicroBatches:
        """This rank's micro-batches of the next global batch.

        Raises:
            ExhaustedError: every task has been repeated as often as it may be.
        """
        if self.objective.normalization == "expected":
            # Before the draw: a step is promised what holds where it begins, whatever stage it ends in.
            self._expected = torch.from_numpy(self.sampler.expected_counts(self.objective.reduction))
        return self.batcher.of_step(self.sampler.take(), self.samples, self.size)

    def expected(self) -> Tensor | None:
        """[T] float64, the denominators that the mixture promised to the batch taken last; None for step means."""
        return self._expected
