"""Refuses a model that has become worse at a task than is allowed, beyond chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mftcoder.core.errors import UserError
from mftcoder.evaluation.scores import Scored
from mftcoder.statistics.intervals import LEVEL, difference

Gate = Mapping[str, Mapping[str, float]]  # task -> metric -> allowed change, negative for worse


class GateFailed(SystemExit):
    """A model did not pass the gate: exit code 3."""

    CODE = 3

    def __init__(self, message: str) -> None:
        super().__init__(self.CODE)
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One demand of a gate.

    Args:
        task, name: whose score.
        allowed: the least change in the direction of better, as the metric defines it (0.02 are 2 points).
        change: what was measured.
        at_best: the most that it can be, beyond chance.
        passed: whether that is at least what is allowed.
    """

    task: str
    name: str
    allowed: float
    change: float
    at_best: float
    passed: bool


def checked(gate: Gate, rows: Sequence[Scored]) -> list[Checked]:
    """Every demand of a gate, against the differences of two models.

    A demand fails where the upper end of the one-sided 95 % interval of the change is below what is allowed; with m
    demands each interval is at 1 - 0.05 / m, so that a model that is as good passes all of them 95 times of 100.

    Args:
        gate: by task and metric.
        rows: the scores.

    Raises:
        UserError: where nothing is compared, or for demands of scores that there are not.
    """
    known = {(row.task, row.name): row for row in rows if row.before_stats is not None}
    demands = [(task, name, allowed) for task, own in gate.items() for name, allowed in own.items()]
    if missing := [f"gate.{task}.{name}" for task, name, _ in demands if (task, name) not in known]:
        there = ", ".join(f"{task}.{name}" for task, name in known) or "none: give a checkpoint, and against"
        raise UserError(f"{', '.join(missing)}: no such score of two models; there are {there}")
    level = 1 - 2 * (1 - LEVEL) / max(1, len(demands))
    return [_checked(known[task, name], allowed, level) for task, name, allowed in demands]


def _checked(row: Scored, allowed: float, level: float) -> Checked:
    assert row.before_stats is not None
    apart = difference(row.before_stats, row.stats, row.metric.score, level=level)
    better = row.metric.larger_is_better
    change, at_best = (apart.estimate, apart.high) if better else (-apart.estimate, -apart.low)
    passed = not at_best < allowed  # One sample has no interval, and proves nothing.
    return Checked(task=row.task, name=row.name, allowed=allowed, change=change, at_best=at_best, passed=passed)
