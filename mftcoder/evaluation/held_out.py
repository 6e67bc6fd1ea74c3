"""The held-out samples that are evaluated: which they are, what they ask, and what a model's loss on each is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import nn

from mftcoder.core.batch import Batch, Sample
from mftcoder.core.coefficients import TokenWeights
from mftcoder.data.corpus.tables import Split
from mftcoder.data.stream.micro_batches import grouped
from mftcoder.engine.base import Engine

Reference = tuple[int, int]  # task, index


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Samples of all tasks, in an order that no number of processes changes.

    Args:
        split: where they are.
        samples_per_task: the most of each task, evenly spread; None for all.
        questions_per_task: the most of those that are answered; None for all, 0 for none.
    """

    split: Split
    samples_per_task: int | None
    questions_per_task: int | None

    @cached_property
    def references(self) -> list[Reference]:
        """All of them, task by task."""
        return [reference for task in range(self.split.num_tasks) for reference in self.spread(task, None)]

    def spread(self, task: int, limit: int | None) -> list[Reference]:
        """Those of one task, or `limit` of them at equal distances: neighbours often come from one source."""
        size = self.split.num_samples(task)
        kept = min(size, self.samples_per_task or size)
        chosen = min(kept, kept if limit is None else limit)
        return [(task, (i * kept // chosen) * size // kept) for i in range(chosen)]

    def questions(self, task: int) -> list[Reference]:
        """The samples of a task that ask for an answer, as many as are to be answered."""
        spread = self.spread(task, self.questions_per_task)
        return [reference for reference in spread if answer_of(self.sample(reference))[0] > 1]

    def sample(self, reference: Reference) -> Sample:
        """Its tokens."""
        return self.split.sample(*reference)

    def length(self, reference: Reference) -> int:
        """How many tokens it has."""
        task, index = reference
        return int(self.split.lengths(task)[index])


def answer_of(sample: Sample) -> tuple[int, int]:
    """Where the first run of targets begins and ends, in tokens; it begins with 1 where nothing asks for it."""
    start = int(np.argmax(sample.supervised))
    rest = np.flatnonzero(~sample.supervised[start:])
    return start, start + int(rest[0]) if len(rest) else len(sample)


def losses(
    engine: Engine,
    model: nn.Module,
    held_out: HeldOut,
    references: Sequence[Reference],
    *,
    collate: Callable[[Sequence[Sample]], Batch],
    tokens_per_batch: int,
) -> dict[Reference, tuple[float, int]]:
    """Sum of the losses in nats, and number of targets, of each sample; on rank 0, and nothing elsewhere.

    The model adds losses up by task; each sample is told to be a task of its own.

    Args:
        engine: whose processes do the work.
        model: with its loss, as objectives call it.
        held_out: where the samples are.
        references: which are evaluated.
        collate: samples to a batch.
        tokens_per_batch: the most of a batch (or one sample).
    """
    groups = list(grouped(references, held_out.length, tokens=tokens_per_batch))
    own = groups[engine.data_rank :: engine.data_ranks]
    found = [_of_batch(engine, model, group, collate([held_out.sample(r) for r in group])) for group in own]
    total: dict[Reference, tuple[float, int]] = {}
    for part in engine.gather(found):
        for group, sums, counts in part:
            for reference, nats, count in zip(group, sums, counts, strict=True):
                before = total.get(reference, (0.0, count))[0]
                total[reference] = (before + nats, count)  # Processes that share a row each have a part of its losses.
    return total


@torch.no_grad()
def _of_batch(
    engine: Engine, model: nn.Module, group: list[Reference], batch: Batch
) -> tuple[list[Reference], list[float], list[int]]:
    number = len(group)
    alone = replace(batch, tasks=torch.arange(number))
    ones = torch.ones(number, dtype=torch.float64, device=engine.device)
    with engine.autocast():
        _, sums = model(alone.to(engine.device), ones, TokenWeights(ones))
    return group, sums.cpu().tolist(), batch.supervised.tolist()
