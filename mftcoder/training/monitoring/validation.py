"""Per-task losses on held-out samples: every sample exactly once, on any number of ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from mftcoder.core.batch import TaskLosses
from mftcoder.core.coefficients import TokenWeights
from mftcoder.data.corpus.tables import Split
from mftcoder.data.stream.micro_batches import MicroBatcher, Reference
from mftcoder.engine.base import Engine


@dataclass(kw_only=True)
class Validator:
    """Evaluates a model on the samples of a split.

    Args:
        engine: whose ranks share the work.
        model: a LossModel, or the engine's wrapping of it.
        split: the samples.
        batcher: of this rank.
        tokens_per_batch: the most tokens of a batch of more than one sample.
        samples_per_task: only so many of each task, evenly spread; None for all.
        trained: [T] whether a task has a share of the training; probes are of these alone.
    """

    engine: Engine
    model: nn.Module
    split: Split
    batcher: MicroBatcher
    tokens_per_batch: int
    samples_per_task: int | None
    trained: Sequence[bool]

    @property
    def num_samples(self) -> int:
        """Samples of all tasks; without any there is nothing to validate on."""
        return sum(self.split.num_samples(task) for task in range(self.split.num_tasks))

    def losses(self, between: Callable[[], object] = lambda: None) -> TaskLosses:
        """Token losses of all samples, by task; between() is called before each batch, and may raise on all ranks."""
        return self._losses(self._spread(self.samples_per_task, range(self.split.num_tasks)), between)

    def probe(self, samples_per_task: int) -> TaskLosses:
        """Token losses of a few samples of each task that is trained.

        They are the same every time, so that their course is not sampling noise.
        """
        trained = [task for task, trains in enumerate(self.trained) if trains]
        return self._losses(self._spread(samples_per_task, trained), lambda: None)

    def _spread(self, samples_per_task: int | None, tasks: Iterable[int]) -> Iterator[Reference]:
        """All samples of each task, or so many at equal distances: neighbours often come from one source."""
        for task in tasks:
            size = self.split.num_samples(task)
            chosen = min(size, samples_per_task or size)
            yield from ((task, i * size // chosen) for i in range(chosen))

    @torch.no_grad()
    def _losses(self, references: Iterable[Reference], between: Callable[[], object]) -> TaskLosses:
        engine, num_tasks = self.engine, self.split.num_tasks
        sums = torch.zeros(2, num_tasks, dtype=torch.float64)
        ones = TokenWeights(torch.ones(num_tasks, dtype=torch.float64)).to(engine.device)
        was_training = self.model.training
        self.model.eval()
        for batch in self.batcher.once(references, self._length, self.split, tokens=self.tokens_per_batch):
            between()
            token_scale = torch.ones(len(batch.tasks), dtype=torch.float64, device=engine.device)
            with engine.autocast():
                _, totals = self.model(batch.to(engine.device), token_scale, ones)
            sums[0] += totals.cpu()
            sums[1].index_add_(0, batch.tasks, batch.supervised.double())
        self.model.train(was_training)
        total, count = engine.sum(sums)
        return TaskLosses(total, count / engine.context_parallel)

    def _length(self, reference: Reference) -> int:
        task, index = reference
        return int(self.split.lengths(task)[index])
