"""The jobs of a sweep against its first choice: paired differences over the seeds, and what they are evidence of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Literal

from mftcoder.report.record import Record
from mftcoder.report.repeats import SEED, Repeats, lowest, repeats
from mftcoder.statistics.student import holm, interval, probability

MEAN = "mean"  # the column of the mean over the tasks
Verdict = Literal["lower", "higher", "no difference", "identical to the bit", "one seed", "not the same tasks", "first"]


@dataclass(frozen=True)
class Difference:
    """The loss of one choice minus that of the first, on the same held-out samples.

    Args:
        values: one of each seed that both have.
        low: of the interval at 95 % for their mean; NaN for fewer than two.
        high: the same.
        verdict: what they are evidence of.
    """

    values: list[float]
    low: float
    high: float
    verdict: Verdict

    @property
    def mean(self) -> float:
        """The mean difference; NaN where there is no pair."""
        return mean(self.values) if self.values else math.nan

    @property
    def star(self) -> str:
        """A star where the evidence carries a verdict."""
        return "*" if self.verdict in ("lower", "higher") else ""


@dataclass(frozen=True)
class Row:
    """One choice.

    Args:
        name: the choice in words.
        settings: those that vary within the sweep, by key.
        jobs: one of each seed.
        losses: by column, the lowest validation loss of each job.
        differences: to the first choice, by column.
    """

    name: str
    settings: dict[str, str]
    jobs: list[Record]
    losses: dict[str, list[float]]
    differences: dict[str, Difference]

    def spread(self, column: str) -> str:
        """Mean and deviation over the seeds."""
        return plus_minus(self.losses.get(column, []))


@dataclass(frozen=True)
class Comparison:
    """All choices of a sweep, the lowest mean first.

    Args:
        first: the name of the choice that the others are compared with.
        tasks: names of the tasks.
        rows: the choices.
    """

    first: str
    tasks: list[str]
    rows: list[Row]

    @property
    def columns(self) -> list[str]:
        """The mean over the tasks, then the tasks."""
        return [MEAN, *self.tasks]

    @property
    def seeds(self) -> int:
        """The most jobs of one choice."""
        return max(len(row.jobs) for row in self.rows)


def compare(jobs: Sequence[Record]) -> Comparison | None:
    """The comparison of the validated jobs, given in the order of the sweep; None for fewer than two choices."""
    groups = repeats(jobs)
    if len(groups) < 2:
        return None
    order = {job.path: place for place, job in enumerate(jobs)}
    first = min(groups, key=lambda group: min(order[job.path] for job in group.jobs))
    tasks = list(dict.fromkeys(task for job in jobs for task in job.tasks))
    rows = [_row(group, first, [MEAN, *tasks]) for group in groups]
    return Comparison(_name(first), tasks, _judged(rows, tasks))


def plus_minus(values: Sequence[float], *, signed: bool = False) -> str:
    """A mean and, of several values, their standard deviation."""
    if not values:
        return ""
    middle = f"{mean(values):+.3f}" if signed else f"{mean(values):.3f}"
    return middle + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def _name(group: Repeats) -> str:
    return ", ".join(group.named().values()) or "as it is"


def _row(group: Repeats, first: Repeats, columns: Sequence[str]) -> Row:
    losses = {column: [loss for job in group.jobs if (loss := _loss(job, column)) is not None] for column in columns}
    differences = {column: _difference(group, first, column) for column in columns}
    return Row(_name(group), group.named(), group.jobs, losses, differences)


def _difference(group: Repeats, first: Repeats, column: str) -> Difference:
    """What is to be said of one column before it is known how many others there are."""
    if group is first:
        return Difference([], math.nan, math.nan, "first")
    pairs = _pairs(group, first)
    values = [_loss(own, column) - _loss(other, column) for own, other in pairs if _both(own, other, column)]  # type: ignore[operator]
    if not values or (column == MEAN and any(own.tasks != other.tasks for own, other in pairs)):
        return Difference(values, math.nan, math.nan, "not the same tasks")
    if all(_course(own, column) == _course(other, column) for own, other in pairs):
        return Difference(values, math.nan, math.nan, "identical to the bit")
    if len(values) == 1:
        return Difference(values, math.nan, math.nan, "one seed")
    return Difference(values, *interval(values), "no difference")


def _judged(rows: Sequence[Row], tasks: Sequence[str]) -> list[Row]:
    """The rows with their verdicts: the means are one family of tests, the tasks another."""
    verdicts: dict[tuple[int, str], Verdict] = {}
    for family in ([MEAN], tasks):
        cells = [
            (index, column, row.differences[column])
            for index, row in enumerate(rows)
            for column in family
            if row.differences[column].verdict == "no difference"
        ]
        stands = holm([probability(cell.values) for _, _, cell in cells])
        for (index, column, cell), stand in zip(cells, stands, strict=True):
            if stand:
                verdicts[index, column] = "lower" if cell.mean < 0 else "higher"
    return [replace(row, differences=_with(row.differences, index, verdicts)) for index, row in enumerate(rows)]


def _with(
    differences: Mapping[str, Difference], index: int, verdicts: Mapping[tuple[int, str], Verdict]
) -> dict[str, Difference]:
    return {
        column: replace(cell, verdict=verdicts.get((index, column), cell.verdict))
        for column, cell in differences.items()
    }


def _pairs(group: Repeats, first: Repeats) -> list[tuple[Record, Record]]:
    """The jobs of both choices that had the same seed."""
    others = {job.overrides.get(SEED): job for job in first.jobs}
    return [(job, others[seed]) for job in group.jobs if (seed := job.overrides.get(SEED)) in others]


def _both(own: Record, other: Record, column: str) -> bool:
    return _loss(own, column) is not None and _loss(other, column) is not None


def _loss(job: Record, column: str) -> float | None:
    """The lowest validation loss of a task, or the mean of those over the tasks."""
    if column == MEAN:
        return lowest(job)
    return job.best(f"valid/loss/{column}")[1] if job.series(f"valid/loss/{column}") else None


def _course(job: Record, column: str) -> list[tuple[float, float]]:
    return job.series("valid/loss" if column == MEAN else f"valid/loss/{column}")
