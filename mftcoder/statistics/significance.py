"""Whether two models differ by more than chance: an exact test of pairs, corrected where many are made."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np

from mftcoder.statistics.bootstrap import SEED, Array, Score
from mftcoder.statistics.intervals import passes_or_fails

SWAPS = 10_000
CHUNK = 1 << 23  # swaps drawn at a time


def p_value(before: Array, after: Array, score: Score) -> float:
    """How likely a difference of at least this size is where the two models are equal, two-sided.

    If they are, each sample's two results might as well be swapped. Passes and failures get McNemar's exact test;
    anything else the share of 10,000 random swaps that are at least as far apart. Both count half of what is exactly as
    far apart (mid-p), without which tests of few discordant pairs reject less often than they say.

    Args:
        before, after: [n, d], of the same samples in the same order.
        score: see Metric.score.

    Source: Riezler and Maxwell, ACL workshop 2005 (approximate randomization, as in sacrebleu); Fagerland, Lydersen and
    Laake, BMC Medical Research Methodology 13 (2013) (mid-p).
    """
    if passes_or_fails(before, score) and passes_or_fails(after, score):
        change = after[:, 0] - before[:, 0]
        return mcnemar(int((change > 0).sum()), int((change < 0).sum()))
    observed = abs(float(score(after.sum(0)) - score(before.sum(0))))
    if observed == 0:
        return 1.0
    apart = np.abs(_swapped(before, after, score))
    slack = 1e-9 * max(observed, 1e-300)
    further, same = (apart > observed + slack).sum(), (np.abs(apart - observed) <= slack).sum()
    return float((further + (same + 1) / 2) / (len(apart) + 1))


def mcnemar(gained: int, lost: int) -> float:
    """The mid-p value of McNemar's test: of n discordant pairs, each goes either way with probability 1/2."""
    number, fewer = gained + lost, min(gained, lost)
    tail = sum(comb(number, k) for k in range(fewer + 1)) - comb(number, fewer) / 2
    return float(min(1.0, 2 * tail / 2**number))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for how many there are: below alpha, one among them is wrong with probability alpha at most.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    corrected, worst = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = worst
    return corrected


def _swapped(before: Array, after: Array, score: Score) -> Array:
    """[R] differences after random swaps of pairs."""
    rng = np.random.default_rng(SEED)
    change, rows = after - before, max(1, CHUNK // len(before))
    found = []
    for start in range(0, SWAPS, rows):
        swaps = rng.random((min(rows, SWAPS - start), len(before)), dtype=np.float32) < 0.5
        moved = swaps.astype(np.float64) @ change
        with np.errstate(all="ignore"):
            found.append(score(after.sum(0) - moved) - score(before.sum(0) + moved))
    return np.nan_to_num(np.concatenate(found), nan=np.inf)
