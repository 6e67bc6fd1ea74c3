"""How much of the stream each task gets: its share, which may change over the run, and its quota, the share so far."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import inf

import numpy as np

from mftcoder.core.errors import UserError


def complete(given: Sequence[float | None], sizes: Sequence[float], temperature: float) -> list[float]:
    """Fills in the shares that were not given, so that all of them sum to 1.

    Args:
        given: [T], share of each task; None takes part of what the others leave.
        sizes: [T], tokens or samples of each task.
        temperature: exponent; what is left is divided in proportion to size ** temperature.

    Raises:
        UserError: more than 1 is given in all, less than 1 with no task to take the rest, or a task without data has
            a share.

    Source: temperature sampling of tasks, arXiv:1910.10683, section 3.5.2 (there 1 / temperature).
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


def with_floor(shares: Sequence[float], floor: Sequence[float]) -> list[float]:
    """Raises every share that is not 0 to at least its floor, and scales the others down so that all sum to 1.

    Args:
        shares: [T], summing to 1.
        floor: [T], smallest share of each task.

    Raises:
        UserError: the floors sum to more than 1.
    """
    low = {t for t, share in enumerate(shares) if 0 < share < floor[t]}
    while low:
        taken = sum(floor[t] for t in low)
        scale = (1 - taken) / (sum(share for t, share in enumerate(shares) if t not in low) or inf)
        if taken > 1:
            raise UserError(
                f"stratified: a sample of every task takes {taken:.2f} times what a step holds on average; make "
                "data.seq_length or the number of packs in a step larger"
            )
        scaled = [floor[t] if t in low else share * scale for t, share in enumerate(shares)]
        more = {t for t, share in enumerate(scaled) if 0 < share < floor[t] - 1e-12}
        if not more:
            return scaled
        low |= more
    return list(shares)


class Shares:
    """The share and the quota of each of T tasks, piecewise in how much the whole stream has given (its total).

    Totals, amounts and quotas count tokens, or samples if shares are of samples.

    Args:
        stages: the total at which each stage begins, the first at 0, and its shares [T].
        capacity: [T], most that each task can give in the whole run; afterwards its share goes to the others.

    Attributes:
        end: the total at which every task has given its capacity; infinite if that is never.
    """

    def __init__(self, stages: Sequence[tuple[float, Sequence[float]]], capacity: Sequence[float]) -> None:
        self._starts: list[float] = []  # of each piece: its total, the quotas there, and the shares from there on
        self._quotas: list[list[float]] = []
        self._rates: list[list[float]] = []
        at, quota = 0.0, [0.0] * len(capacity)
        for stage, (_, shares) in enumerate(stages):
            until = stages[stage + 1][0] if stage + 1 < len(stages) else inf
            while at < until:
                live = [s if quota[t] < capacity[t] else 0.0 for t, s in enumerate(shares)]
                if not sum(live):
                    self.end = at
                    self._add(at, quota, [0.0] * len(capacity))
                    return
                rates = [share / sum(live) for share in live]
                self._add(at, quota, rates)
                left = {t: (capacity[t] - quota[t]) / rate for t, rate in enumerate(rates) if rate}
                step = min(until - at, *left.values())
                quota = [q + rate * step if rate else q for q, rate in zip(quota, rates, strict=True)]
                quota = [capacity[t] if left.get(t) == step else q for t, q in enumerate(quota)]
                at += step
        self.end = inf

    def _add(self, at: float, quota: list[float], rates: list[float]) -> None:
        self._starts.append(at)
        self._quotas.append(quota)
        self._rates.append(rates)

    @property
    def ever(self) -> list[bool]:
        """[T], whether a task has a share at any time."""
        return [any(rates) for rates in zip(*self._rates, strict=True)]

    def rates(self, total: float) -> list[float]:
        """[T], shares that hold at `total`; they sum to 1, or to 0 from `end` on."""
        return self._rates[bisect_right(self._starts, total) - 1]

    def quota(self, total: float) -> list[float]:
        """[T], how much of the first `total` belongs to each task: the integral of its share."""
        piece = bisect_right(self._starts, total) - 1
        over = total - self._starts[piece]
        return [q + rate * over for q, rate in zip(self._quotas[piece], self._rates[piece], strict=True)]

    def total_at(self, task: int, amount: float) -> float:
        """The total at which the quota of `task` reaches `amount`; infinite if it never does."""
        for piece in range(len(self._starts) - 1, -1, -1):
            if self._quotas[piece][task] < amount:
                rate = self._rates[piece][task]
                return self._starts[piece] + (amount - self._quotas[piece][task]) / rate if rate else inf
        return 0.0

    def describe(self) -> list[object]:
        """Everything that decides the quotas, to be hashed."""
        return [self._starts, self._quotas, self._rates]
