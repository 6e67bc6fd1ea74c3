"""How much of the stream is due to each task: shares that may change over the run, and tasks that may run out."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import inf

import numpy as np

from mftcoder.core.errors import UserError


def divide(given: Sequence[float | None], sizes: Sequence[float], temperature: float) -> list[float]:
    """[T] shares that sum to 1: those given, and the rest among the others in proportion to size ** temperature.

    Raises UserError where that cannot be: more than 1 given in all, less than 1 with nobody to take the rest, or a
    share given to a task without data.
    """
    if any(share and not size for share, size in zip(given, sizes, strict=True)):
        raise UserError(f"shares {list(given)}: one is given to a task without data; give it data, or no share")
    rest = 1 - sum(share for share in given if share is not None)
    weights = np.array(
        [size**temperature if share is None and size else 0 for share, size in zip(given, sizes, strict=True)],
        dtype=np.float64,
    )
    others = float(weights.sum())
    if rest < -1e-9 or (others == 0 and rest > 1e-9):
        raise UserError(
            f"shares {list(given)} sum to {1 - rest:g}; expected 1, or less where some are null and take the rest"
        )
    scale = max(rest, 0.0) / others if others else 0.0
    return [w * scale if share is None else share for share, w in zip(given, weights.tolist(), strict=True)]


def raise_to(shares: Sequence[float], least: Sequence[float]) -> list[float]:
    """Shares of at least `least` (where they are not 0), the others smaller for it in proportion; they sum to 1."""
    low = {t for t, share in enumerate(shares) if 0 < share < least[t]}
    while low:
        taken = sum(least[t] for t in low)
        scale = (1 - taken) / (sum(share for t, share in enumerate(shares) if t not in low) or inf)
        if taken > 1:
            raise UserError("stratified: a step is too small for a sample of every task; make it larger")
        scaled = [least[t] if t in low else share * scale for t, share in enumerate(shares)]
        more = {t for t, share in enumerate(scaled) if 0 < share < least[t] - 1e-12}
        if not more:
            return scaled
        low |= more
    return list(shares)


class Shares:
    """What is due to each of T tasks after a total of so much (tokens, or samples): piecewise linear in the total.

    stages: shares [T] and the total from which on they hold, in order, the first from 0. capacity: the most that each
    task can give in all; the shares of one that has given it go to the others. end: the total at which nothing is left.
    """

    def __init__(self, stages: Sequence[tuple[float, Sequence[float]]], capacity: Sequence[float]) -> None:
        self._starts: list[float] = []
        self._due: list[list[float]] = []
        self._rates: list[list[float]] = []
        at, due = 0.0, [0.0] * len(capacity)
        for stage, (_, shares) in enumerate(stages):
            until = stages[stage + 1][0] if stage + 1 < len(stages) else inf
            while at < until:
                live = [s if due[t] < capacity[t] else 0.0 for t, s in enumerate(shares)]
                if not sum(live):
                    self.end = at
                    self._add(at, due, [0.0] * len(capacity))
                    return
                rates = [share / sum(live) for share in live]
                self._add(at, due, rates)
                left = {t: (capacity[t] - due[t]) / rate for t, rate in enumerate(rates) if rate}
                step = min(until - at, *left.values())
                due = [d + rate * step if rate else d for d, rate in zip(due, rates, strict=True)]
                due = [capacity[t] if left.get(t) == step else d for t, d in enumerate(due)]
                at += step
        self.end = inf

    def _add(self, at: float, due: list[float], rates: list[float]) -> None:
        self._starts.append(at)
        self._due.append(due)
        self._rates.append(rates)

    def rates(self, total: float) -> list[float]:
        """[T] shares that hold at `total`."""
        return self._rates[bisect_right(self._starts, total) - 1]

    def due(self, total: float) -> list[float]:
        """[T] what is due to each task of the first `total`."""
        piece = bisect_right(self._starts, total) - 1
        over = total - self._starts[piece]
        return [d + rate * over for d, rate in zip(self._due[piece], self._rates[piece], strict=True)]

    def reached(self, task: int, amount: float) -> float:
        """The total at which `amount` is due to `task`: infinite if that is never."""
        for piece in range(len(self._starts) - 1, -1, -1):
            if self._due[piece][task] < amount:
                rate = self._rates[piece][task]
                return self._starts[piece] + (amount - self._due[piece][task]) / rate if rate else inf
        return 0.0

    def describe(self) -> list[object]:
        """All that it is made of, for a hash."""
        return [self._starts, self._due, self._rates]
