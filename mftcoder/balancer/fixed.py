"""Weights that the user gives, constant or in stages over time."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from typing_extensions import TypedDict

from mftcoder.balancer.base import Balancer
from mftcoder.core.errors import raise_faults

TaskWeights = dict[str, float] | list[float]


class Stage(TypedDict):
    """From step `from_step` (counted from 0) until the next stage the weights are `weights`."""

    from_step: int
    weights: TaskWeights


class Fixed(Balancer):
    """w_t as given by `task_weights`, of any scale: only their ratios count.

    task_weights: a weight for every task, by name or as a list in the order of the tasks; or stages, each with its
    `from_step` and such `weights`; None gives every task 1.
    """

    def __init__(self, *, task_weights: TaskWeights | list[Stage] | None) -> None:
        self.task_weights = task_weights

    def start(self, tasks: Sequence[str]) -> None:
        """Match the weights with the tasks; all that does not fit is reported in one UserError."""
        super().start(tasks)
        stages = self._stages()
        faults = _order_faults(stages)
        for place, stage in stages.items():
            faults += _faults(place, stage["weights"], self.tasks)
        raise_faults(faults)
        self.steps = [stage["from_step"] for stage in stages.values()]
        self.table = torch.tensor([_in_order(s["weights"], self.tasks) for s in stages.values()], dtype=torch.float64)

    def weights(self, step: int, counts: Tensor) -> Tensor:
        """The weights [T] of the stage that `step` is in."""
        return self.table[bisect_right(self.steps, step) - 1]

    def _stages(self) -> dict[str, Stage]:
        """The stages by the place in the config where their weights stand; plain weights are one stage."""
        given, place = self.task_weights, "balancer.task_weights"
        if given is None:
            given = [1.0] * len(self.tasks)
        if isinstance(given, list) and given and isinstance(given[0], dict):
            return {f"{place}[{i}]": stage for i, stage in enumerate(given)}
        return {place: {"from_step": 0, "weights": given}}  # type: ignore[typeddict-item]


def _in_order(weights: TaskWeights, tasks: list[str]) -> list[float]:
    return [weights[task] for task in tasks] if isinstance(weights, dict) else weights


def _order_faults(stages: dict[str, Stage]) -> list[str]:
    """One message if the stages do not begin at step 0 or do not follow one another."""
    steps = [stage["from_step"] for stage in stages.values()]
    if steps[0] == 0 and all(a < b for a, b in pairwise(steps)):
        return []
    return [f"balancer.task_weights: from_step {steps}: stages begin at 0 and each begins after the one before it"]


def _faults(place: str, weights: TaskWeights, tasks: list[str]) -> list[str]:
    """What is wrong with the weights of one stage: names, number, values."""
    faults = []
    if isinstance(weights, dict):
        if missing := [task for task in tasks if task not in weights]:
            faults.append(f"{place}: no weight for {', '.join(missing)}")
        if unknown := [name for name in weights if name not in tasks]:
            faults.append(f"{place}: no task named {', '.join(unknown)}; the tasks are {', '.join(tasks)}")
        weights = list(weights.values())
    elif len(weights) != len(tasks):
        faults.append(f"{place}: {len(weights)} weights for {len(tasks)} tasks ({', '.join(tasks)})")
    if not all(math.isfinite(w) and w >= 0 for w in weights) or not any(weights):
        faults.append(f"{place}: {weights}: weights are numbers from 0, and not all 0")
    return faults
