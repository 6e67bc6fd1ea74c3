"""Bootstrap-t intervals of any smooth function of sums over samples."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Score = Callable[[Array], Array]

RESAMPLES = 4000
MANY = 4096  # samples from which on the normal distribution is as good
CACHED = 512  # samples up to which the resamples are kept: 16 MB
STEP = 1e-4  # of a sum, in a central difference
SEED = 0


def studentised(stats: Array, score: Score, level: float) -> tuple[float, float]:
    """The bootstrap-t interval of score(sums over the samples).

    Each resample's score is divided by its own standard error; the quantiles of these t take the place of Student's.
    Such intervals hold the true score as often as they say up to the second order, also where data are skewed;
    percentile intervals up to the first. From 4096 samples on, normal quantiles, which are then the same.

    Args:
        stats: [n, d], what each of at least two samples adds to the d sums that the score is a function of.
        score: sums [..., d] to scores [...], smooth.
        level: the part of repetitions in which the interval is to hold the true score, as 0.95.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 12.5; Hall, Annals of Statistics 16
    (1988).
    """
    number, tail = len(stats), (1 - level) / 2
    whole = scored(stats.sum(0)[None], _products(stats).sum(0)[None], number, score)
    estimate, error = float(whole[0][0]), float(whole[1][0])
    if error == 0:
        return estimate, estimate
    if number >= MANY:
        reach = NormalDist().inv_cdf(1 - tail) * error
        return estimate - reach, estimate + reach
    counts = resamples(number)
    scores, errors = scored(counts @ stats, counts @ _products(stats), number, score)
    fine = np.isfinite(scores) & (errors > 1e-9 * error)
    low, high = np.quantile((scores[fine] - estimate) / errors[fine], [tail, 1 - tail])
    return estimate - float(high) * error, estimate - float(low) * error


def scored(sums: Array, products: Array, number: int, score: Score) -> tuple[Array, Array]:
    """Scores [R] and their standard errors [R] by the delta method.

    Args:
        sums: [R, d], of the statistics of `number` samples each.
        products: [R, d * d], of their outer products.
    """
    size = sums.shape[1]
    step = STEP * np.maximum(np.abs(sums), 1e-12)
    offsets = step[:, None, :] * np.eye(size)  # [R, d, d]
    with np.errstate(all="ignore"):
        gradient = (score(sums[:, None] + offsets) - score(sums[:, None] - offsets)) / (2 * step)
        scores = score(sums)
    covariance = products.reshape(-1, size, size) - sums[:, :, None] * sums[:, None, :] / number
    variance = ((covariance @ gradient[:, :, None])[:, :, 0] * gradient).sum(1) * number / (number - 1)
    return scores, np.sqrt(np.maximum(np.nan_to_num(variance), 0))


def resamples(number: int) -> Array:
    """[R, n], how often each of n samples is in each of R resamples; the same each time."""
    return _kept(number) if number <= CACHED else _drawn(number)


@lru_cache(maxsize=8)
def _kept(number: int) -> Array:
    return _drawn(number)


def _drawn(number: int) -> Array:
    drawn = np.random.default_rng(SEED).integers(number, size=(RESAMPLES, number), dtype=np.int32)
    drawn += np.arange(RESAMPLES, dtype=np.int32)[:, None] * np.int32(number)
    return np.bincount(drawn.ravel(), minlength=RESAMPLES * number).reshape(RESAMPLES, number).astype(np.float64)


def _products(stats: Array) -> Array:
    products: Array = stats[:, :, None] * stats[:, None, :]
    return products.reshape(len(stats), -1)
