"""The contract of all balancers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from mftcoder.core.batch import TaskLosses

Probe = Literal["none", "train", "valid"]


class Balancer(ABC):
    """Gives each of T tasks its weight in the next step, from what it was shown of earlier steps.

    The loop calls, once: start(tasks); before each step: weights(step, counts); after it, if `wants(step)`:
    observe(step, losses), with the step's own training losses (probe=train), or with those of a fixed
    task-stratified validation batch (probe=valid). Everything it sees is already summed over micro-batches and ranks,
    so that a balancer cannot depend on how a batch was split.
    """

    probe: Probe = "none"

    def start(self, tasks: Sequence[str]) -> None:
        """Learn the names of the tasks, in the order of their ids. Called once, before load_state_dict."""
        self.tasks = list(tasks)

    @abstractmethod
    def weights(self, step: int, counts: Tensor) -> Tensor:
        """Weights [T] float64, non-negative, of any scale, for step `step` (from 0), whose batch holds `counts` [T]."""

    def wants(self, step: int) -> bool:
        """Whether observe should be called after step `step`."""
        return self.probe != "none"

    def observe(self, step: int, losses: TaskLosses) -> None:
        """Take in the losses of step `step`; a task without a count was absent."""

    def state_dict(self) -> dict[str, Any]:
        """All that the next weights depend on: tensors, numbers, strings, and lists and dicts of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue as the balancer that gave `state`."""


class GradientBalancer(Balancer):
    """A balancer that needs the gradient of each task by itself.

    The loop then runs each task's samples as micro-batches of their own and collects one flat gradient of the
    task's mean loss per task. Single process and DDP only.
    """

    @abstractmethod
    def combine(self, gradients: Tensor, weights: Tensor) -> Tensor:
        """From gradients [T, P] of the present tasks' mean losses and weights [T] (sum 1), the update direction [P]."""
