"""Per-task losses on held-out samples: every sample exactly once, on any number of ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from mftcoder.core.batch import IGNORED, Batch, Sample, TaskLosses
from mftcoder.data.corpus.tables import Split
from mftcoder.data.stream.collate import grouped
from mftcoder.engine.base import Engine

Reference = tuple[int, int]


@dataclass(kw_only=True)
class Validator:
    """Evaluates the engine's model on `split`, in batches of at most tokens_per_batch tokens (or one sample).

    samples_per_task: only so many of each task, evenly spread; None for all.
    """

    engine: Engine
    split: Split
    collate: Callable[[Sequence[Sample]], Batch]
    tokens_per_batch: int
    samples_per_task: int | None

    @property
    def num_samples(self) -> int:
        """Samples of all tasks; without any there is nothing to validate on."""
        return sum(self.split.num_samples(task) for task in range(self.split.num_tasks))

    def losses(self, between: Callable[[], object] = lambda: None) -> TaskLosses:
        """Token losses of all samples, by task; between() is called before each batch, and may raise on all ranks."""
        return self._losses(self._spread(self.samples_per_task), between)

    def probe(self, samples_per_task: int) -> TaskLosses:
        """Token losses of a few samples of each task, the same every time: their course is not sampling noise."""
        return self._losses(self._spread(samples_per_task), lambda: None)

    def _spread(self, samples_per_task: int | None) -> Iterator[Reference]:
        """All samples of each task, or so many at equal distances: neighbours often come from one source."""
        for task in range(self.split.num_tasks):
            size = self.split.num_samples(task)
            chosen = min(size, samples_per_task or size)
            yield from ((task, i * size // chosen) for i in range(chosen))

    @torch.no_grad()
    def _losses(self, references: Iterable[Reference], between: Callable[[], object]) -> TaskLosses:
        engine, num_tasks = self.engine, self.split.num_tasks
        sums = torch.zeros(2, num_tasks, dtype=torch.float64)
        was_training = engine.model.training
        engine.model.eval()
        groups = list(grouped(references, self._length, tokens=self.tokens_per_batch))
        for batch in self._own(groups):
            between()
            units = torch.ones(len(batch.tasks), dtype=torch.float64, device=engine.device)
            ones = torch.ones(num_tasks, dtype=torch.float64, device=engine.device)
            with engine.autocast():
                _, totals = engine.model(batch.to(engine.device), units, ones)
            sums[0] += totals.cpu()
            sums[1].index_add_(0, batch.tasks, batch.supervised.double())
        engine.model.train(was_training)
        total, count = engine.sum(sums)
        return TaskLosses(total, count / engine.context_parallel)

    def _length(self, reference: Reference) -> int:
        task, index = reference
        return int(self.split.lengths(task)[index])

    def _own(self, groups: Sequence[Sequence[Reference]]) -> Iterator[Batch]:
        """This rank's batches. Sharded models have to run equally often on all: some repeat a batch for nothing."""
        rank, ranks = self.engine.data_rank, self.engine.data_ranks
        for at in range(rank, -(-len(groups) // ranks) * ranks, ranks):
            idle = at >= len(groups)
            batch = self.collate([self.split.sample(*r) for r in groups[0 if idle else at]])
            yield _without_targets(batch) if idle else batch


def _without_targets(batch: Batch) -> Batch:
    return replace(batch, labels=torch.full_like(batch.labels, IGNORED), supervised=torch.zeros_like(batch.supervised))
