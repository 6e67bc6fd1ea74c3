"""What a run will be like, before it starts: steps of an epoch, and how much of the loss each task will make up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mftcoder.data.corpus.tables import Split
from mftcoder.data.stream.sampler import Sampler

MOST = 200  # steps that are looked at


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the first steps of a stream hold.

    Args:
        steps_per_epoch: optimizer steps.
        tokens_per_step: mean over the steps looked at.
        shares: [T], of the tokens of these steps.
        effective_weights: [T], mean share of the loss with balancer=fixed|equal and normalization=step, where a task
            that is absent from a step leaves its weight to the others.
    """

    steps_per_epoch: int
    tokens_per_step: float
    shares: NDArray[np.float64]
    effective_weights: NDArray[np.float64]


def forecast(sampler: Sampler, split: Split, weights: Sequence[float]) -> Forecast:
    """Takes up to 200 steps of an epoch from the sampler, and looks at what they hold.

    Args:
        sampler: at its beginning; it is moved.
        split: that it draws from.
        weights: [T], of the losses.
    """
    steps = sampler.steps(1.0)
    tokens = np.zeros((min(steps, MOST), split.num_tasks))
    for step in range(len(tokens)):
        for task, index in (sample for pack in sampler.take() for sample in pack):
            tokens[step, task] += split.lengths(task)[index]
    mass = (tokens > 0) * np.array(weights, dtype=np.float64)
    sums = mass.sum(1, keepdims=True)
    effective = np.divide(mass, sums, out=np.zeros_like(mass), where=sums > 0)
    totals = tokens.sum(0)
    return Forecast(
        steps_per_epoch=steps,
        tokens_per_step=float(totals.sum() / max(len(tokens), 1)),
        shares=totals / max(totals.sum(), 1.0),
        effective_weights=effective.mean(0) if len(tokens) else np.zeros(split.num_tasks),
    )
