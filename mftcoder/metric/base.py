"""The contract of all metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Needs = Literal["losses", "answers", "execution"]


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One held-out sample, with what a model makes of it.

    Args:
        task: its task.
        key: what tells it from all others of the task, in every run.
        prompt: what was asked.
        reference: the answer in the data, "" where there is none.
        answers: the model's, one or more.
        passed: of each answer, whether its tests passed; none where nothing was run.
        outcomes: of each answer that was run, how it ended.
        nats: sum of the losses of its targets.
        tokens: how many targets it has.
        bytes: of the text of its targets in UTF-8.
    """

    task: str
    key: str
    prompt: str = ""
    reference: str = ""
    answers: Sequence[str] = ()
    nats: float = np.nan
    tokens: int = 0
    bytes: int = 0
    passed: Sequence[bool] = ()
    outcomes: Sequence[str] = ()


class Metric(ABC):
    """A number that is a function of sums over samples, so that intervals and tests are the same for all metrics.

    needs: what it looks at: the losses of the samples, the model's answers to them, or whether those pass tests.
    larger_is_better: whether more is better.
    scale: what is shown is the score times this, 100 for points.
    unit: of what is shown.
    """

    needs: ClassVar[Needs] = "answers"
    larger_is_better: ClassVar[bool] = True
    scale: ClassVar[float] = 100.0
    unit: ClassVar[str] = "points"

    @abstractmethod
    def measure(self, samples: Sequence[Answered]) -> Array:
        """[n, d], what each sample adds to the d sums that the score is a function of.

        Args:
            samples: of one task.
        """

    def scores(self, name: str) -> dict[str, Metric]:
        """The metrics that it stands for, by the names that they are shown under.

        Args:
            name: what it is called in the configuration.
        """
        return {name: self}

    def score(self, sums: Array) -> Array:
        """Scores [...] of sums [..., d]; unless a metric says otherwise, the first sum over the second."""
        return ratio(sums)


def ratio(sums: Array) -> Array:
    """The first sum over the second: means, and rates such as losses a token."""
    quotient: Array = sums[..., 0] / sums[..., 1]
    return quotient


def over_answers(samples: Sequence[Answered], value: Callable[[str, str], float]) -> Array:
    """[n, 2], the mean over a sample's answers of a value of (answer, reference), and 1."""
    return mean_of([float(np.mean([value(answer, s.reference) for answer in s.answers])) for s in samples])


def mean_of(values: Sequence[float]) -> Array:
    """[n, 2], from which `ratio` takes the mean of the values."""
    return np.stack([np.asarray(values, dtype=np.float64), np.ones(len(values))], axis=1)
