"""From what all ranks share, a global batch or a validation set, to the micro-batches of one rank."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import torch

from mftcoder.core.batch import IGNORED, Batch, Sample
from mftcoder.data.stream.collate import PaddingMode, collate

T = TypeVar("T")
Reference = tuple[int, int]
"""A sample by its task and its row in a split."""
MicroBatches = Sequence[Sequence[Sample]]


class Samples(Protocol):
    """What samples are read from: a split."""

    def sample(self, task: int, index: int, /) -> Sample:
        """The sample of a reference."""


@dataclass(frozen=True, kw_only=True)
class MicroBatcher:
    """Gives one rank its micro-batches, in training, by task and in validation.

    Args:
        padding_mode: pack, padding or concat: one row of whole samples, or one padded row a sample.
        pad_id: token id that padded rows are filled up with.
        rank: which share of the samples is this process's (`Engine.data_rank`).
        ranks: into how many shares they are divided (`Engine.data_ranks`).
    """

    padding_mode: PaddingMode
    pad_id: int
    rank: int
    ranks: int

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """One micro-batch of these samples."""
        return collate(samples, padding_mode=self.padding_mode, pad_id=self.pad_id)

    def of_step(self, packs: Sequence[Sequence[Reference]], samples: Samples, size: int) -> MicroBatches:
        """This rank's micro-batches of a global batch, `size` packs in each."""
        share = len(packs) // self.ranks
        own = packs[self.rank * share : (self.rank + 1) * share]
        return [
            [samples.sample(*reference) for pack in own[at : at + size] for reference in pack]
            for at in range(0, len(own), size)
        ]

    def together(self, micro_batches: MicroBatches) -> list[Batch]:
        """The batches of these micro-batches, whatever tasks they mix."""
        return [self.collate(samples) for samples in micro_batches]

    def by_task(self, micro_batches: MicroBatches, num_tasks: int) -> list[list[Batch]]:
        """The same samples regrouped, [T] lists of batches that hold one task each.

        No batch has more tokens or more samples than the largest of `micro_batches`.
        """
        tokens, number = max(sum(map(len, samples)) for samples in micro_batches), max(map(len, micro_batches))
        everything = [sample for samples in micro_batches for sample in samples]
        of_tasks = [[sample for sample in everything if sample.task == task] for task in range(num_tasks)]
        return [[self.collate(group) for group in grouped(own, len, tokens=tokens, number=number)] for own in of_tasks]

    def once(
        self, references: Iterable[Reference], length: Callable[[Reference], int], samples: Samples, *, tokens: int
    ) -> Iterator[Batch]:
        """This rank's batches of a set of which every sample is seen once by one rank.

        Sharded models have to run equally often on all ranks: some repeat a batch, with all its targets taken out.

        Args:
            references: the set, the same on every rank.
            length: tokens of a sample.
            samples: where they are read.
            tokens: the most in a batch, where that is more than one sample.
        """
        groups = list(grouped(references, length, tokens=tokens))
        for at in range(self.rank, -(-len(groups) // self.ranks) * self.ranks, self.ranks):
            idle = at >= len(groups)
            batch = self.collate([samples.sample(*reference) for reference in groups[0 if idle else at]])
            yield _without_targets(batch) if idle else batch


def grouped(
    items: Iterable[T], length: Callable[[T], int], *, tokens: int, number: int | None = None
) -> Iterator[list[T]]:
    """`items` in their order, each group of at most so many tokens (or one item) and at most `number` items."""
    group: list[T] = []
    total = 0
    for item in items:
        size = length(item)
        if group and (len(group) == number or total + size > tokens):
            yield group
            group, total = [], 0
        group.append(item)
        total += size
    if group:
        yield group


def _without_targets(batch: Batch) -> Batch:
    return replace(batch, labels=torch.full_like(batch.labels, IGNORED), supervised=torch.zeros_like(batch.supervised))
