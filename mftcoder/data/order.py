"""The endless order of a task's samples: one permutation after another, each a pure function of its number."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


class Order:
    """Position p >= 0 of task `task` to the index of a sample: each run of n positions holds every sample once.

    A permutation sorts the raw output of Philox, a counter-based generator, keyed by seed, task and number of the run:
    nothing has to be remembered, and no version of NumPy changes it.
    """

    def __init__(self, lengths: NDArray[np.int32], *, seed: int, task: int) -> None:
        self.size = len(lengths)
        self._lengths = lengths
        self._run = lru_cache(maxsize=2)(self._make_run)
        self._seed, self._task = seed, task

    def index(self, position: int) -> int:
        """The sample at `position`."""
        return self._run(position // self.size)[0][position % self.size]

    def length(self, position: int) -> int:
        """Tokens of the sample at `position`."""
        return self._run(position // self.size)[1][position % self.size]

    def _make_run(self, number: int) -> tuple[list[int], list[int]]:
        """Indices and lengths of one run."""
        key = np.random.SeedSequence([self._seed, self._task, number]).generate_state(2, np.uint64)
        permutation = np.argsort(np.random.Philox(key=key).random_raw(self.size), kind="stable")
        return permutation.tolist(), self._lengths[permutation].tolist()
