"""A split as running text: the examples of each task end to end, cut every seq_length tokens (for pretraining)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mftcoder.core.batch import Sample
from mftcoder.data.corpus.tables import Split


class Concatenated(Split):
    """Windows of `seq_length` tokens over the examples of `split`, in their order, task by task.

    Neighbouring windows share one token, which the first predicts and the second starts from, so that every token is
    predicted once. Examples see each other within a window. The last window of a task is what is left.

    Args:
        split: whole examples.
        seq_length: most tokens of a window.
    """

    def __init__(self, split: Split, seq_length: int) -> None:
        super().__init__(split.tasks, [], [], split.cache_dir)
        self._split = split
        self._stride = seq_length - 1
        tasks = range(split.num_tasks)
        self._ends = [np.cumsum(split.lengths(task), dtype=np.int64) for task in tasks]
        self._lengths = [self._windows(int(ends[-1]) if len(ends) else 0) for ends in self._ends]

    def _windows(self, tokens: int) -> NDArray[np.int32]:
        """The lengths of the windows over so many tokens."""
        starts = np.arange(0, max(0, tokens - 1), self._stride)
        return np.minimum(self._stride + 1, tokens - starts).astype(np.int32)

    def supervised(self, task: int) -> NDArray[np.int32]:
        """[n], supervised tokens of each window, which have to be read for it."""
        targets = [self.sample(task, index).supervised.sum() for index in range(self.num_samples(task))]
        return np.array(targets, dtype=np.int32)

    def digests(self) -> dict[str, str]:
        """Those of the tables that the windows are cut from."""
        return self._split.digests()

    def num_targets(self, task: int) -> int:
        """Supervised tokens of one task: those of its examples, as each is predicted in one window."""
        return self._split.num_targets(task)

    def sample(self, task: int, index: int) -> Sample:
        """One window, put together from the examples that it touches."""
        start = index * self._stride
        end = start + int(self._lengths[task][index])
        ends = self._ends[task]
        first, last = np.searchsorted(ends, [start, end - 1], side="right")
        parts = [self._split.sample(task, row) for row in range(first, last + 1)]
        offset = start - (int(ends[first - 1]) if first else 0)
        ids = np.concatenate([part.ids for part in parts])[offset : offset + end - start]
        supervised = np.concatenate([part.supervised for part in parts])[offset : offset + end - start]
        supervised[0] = False
        return Sample(ids, supervised, task, index)
