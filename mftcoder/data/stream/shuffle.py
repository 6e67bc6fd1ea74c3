"""The endless shuffle of a task's samples: one permutation after another, each a pure function of its number."""

from __future__ import annotations

from functools import lru_cache
from math import ceil

import numpy as np
from numpy.typing import NDArray


class Shuffle:
    """Maps a position p >= 0 to a sample; every pass of n positions holds every sample once.

    A pass is sorted by the raw output of Philox, a counter-based generator (Salmon et al., SC 2011), keyed by seed,
    task and pass: there is no state to keep, and no version of NumPy changes the order.

    Args:
        lengths: [n], tokens of each sample.
        seed: of the stream.
        task: number of the task in the run that began the stream.
        by_tokens: whether amounts count tokens, or else samples.
    """

    def __init__(self, lengths: NDArray[np.int32], *, seed: int, task: int, by_tokens: bool) -> None:
        self.size = len(lengths)
        self.amount = int(lengths.sum(dtype=np.int64)) if by_tokens else self.size
        self._lengths = lengths
        self._key = (seed, task)
        self._by_tokens = by_tokens
        self.permutation = lru_cache(maxsize=2)(self._permutation)

    def _permutation(self, number: int) -> NDArray[np.int32]:
        """[n], the rows in the order of pass `number`."""
        key = np.random.SeedSequence([*self._key, number]).generate_state(2, np.uint64)
        return np.argsort(np.random.Philox(key=key).random_raw(self.size), kind="stable").astype(np.int32)

    def row(self, position: int) -> int:
        """The row of the sample at `position`."""
        number, at = divmod(position, self.size)
        return int(self.permutation(number)[at])

    def length(self, position: int) -> int:
        """Tokens of the sample at `position`."""
        return int(self._lengths[self.row(position)])

    def position(self, quota: float) -> int:
        """How many samples a quota (tokens or samples) is, rounded to the nearest: half a sample counts as one."""
        if not self.size:
            return 0
        number, rest = divmod(quota, self.amount)
        if not self._by_tokens:
            return int(number) * self.size + max(0, ceil(rest - 0.5))
        lengths = self._lengths[self.permutation(int(number))]
        ends = np.cumsum(lengths, dtype=np.int64)
        whole = int(np.searchsorted(ends, rest))
        rounded_up = whole < self.size and ends[whole] - lengths[whole] / 2 < rest
        return int(number) * self.size + whole + int(rounded_up)
