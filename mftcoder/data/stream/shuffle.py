"""The endless order of a task's samples: one permutation after another, each a pure function of its number."""

from __future__ import annotations

from functools import lru_cache
from math import ceil

import numpy as np
from numpy.typing import NDArray


class Order:
    """Position p >= 0 to a sample: each pass of n positions holds every sample once.

    A permutation sorts the raw output of Philox, a counter-based generator, keyed by seed, task and number of the
    pass: nothing has to be remembered, and no version of NumPy changes it. by_tokens: whether amounts are tokens, or
    else samples.
    """

    def __init__(self, lengths: NDArray[np.int32], *, seed: int, task: int, by_tokens: bool) -> None:
        self.size = len(lengths)
        self.amount = int(lengths.sum(dtype=np.int64)) if by_tokens else self.size
        self._lengths = lengths
        self._key = (seed, task)
        self._by_tokens = by_tokens
        self.passed = lru_cache(maxsize=2)(self._permuted)

    def _permuted(self, number: int) -> NDArray[np.int32]:
        """[n] the rows in the order of a pass."""
        key = np.random.SeedSequence([*self._key, number]).generate_state(2, np.uint64)
        return np.argsort(np.random.Philox(key=key).random_raw(self.size), kind="stable").astype(np.int32)

    def row(self, position: int) -> int:
        """The sample at `position`."""
        number, at = divmod(position, self.size)
        return int(self.passed(number)[at])

    def length(self, position: int) -> int:
        """Tokens of the sample at `position`."""
        return int(self._lengths[self.row(position)])

    def position(self, amount: float) -> int:
        """How many samples are due once `amount` is: those of which at least half is."""
        if not self.size:
            return 0
        number, rest = divmod(amount, self.amount)
        if not self._by_tokens:
            return int(number) * self.size + max(0, ceil(rest - 0.5))
        lengths = self._lengths[self.passed(int(number))]
        ends = np.cumsum(lengths, dtype=np.int64)
        whole = int(np.searchsorted(ends, rest))
        half = whole < self.size and ends[whole] - lengths[whole] / 2 < rest
        return int(number) * self.size + whole + int(half)
