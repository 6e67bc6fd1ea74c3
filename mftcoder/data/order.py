"""The endless order of a task's samples: one permutation after another, each a pure function of its number."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Pass(NamedTuple):
    """One pass over all samples: the row of each, and its tokens, in the order of the pass."""

    rows: NDArray[np.int64]
    lengths: NDArray[np.int32]


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

    def _permuted(self, number: int) -> Pass:
        key = np.random.SeedSequence([*self._key, number]).generate_state(2, np.uint64)
        rows = np.argsort(np.random.Philox(key=key).random_raw(self.size), kind="stable")
        return Pass(rows, self._lengths[rows])

    def row(self, position: int) -> int:
        """The sample at `position`."""
        number, at = divmod(position, self.size)
        return int(self.passed(number).rows[at])

    def length(self, position: int) -> int:
        """Tokens of the sample at `position`."""
        number, at = divmod(position, self.size)
        return int(self.passed(number).lengths[at])

    def position(self, amount: float) -> int:
        """How many samples are due once `amount` is: those of which at least half is."""
        if not self.size:
            return 0
        number, rest = divmod(amount, self.amount)
        lengths = self.passed(int(number)).lengths
        sizes = lengths.astype(np.float64) if self._by_tokens else np.ones(self.size)
        return int(number) * self.size + int(np.searchsorted(np.cumsum(sizes) - sizes / 2, rest))
