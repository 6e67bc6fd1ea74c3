"""The contract of all balancers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from mftcoder.core.batch import TaskLosses

Probe = Literal["none", "train", "valid"]


class Balancer(ABC):
    """Gives each of T tasks its weight in the next step, from what it was shown of earlier steps.

    The loop calls, once: start(tasks); before each step: weights(step, counts); after it, if `wants(step)`:
    observe(step, losses), with the step's own training losses (probe=train), or with those of a fixed
    task-stratified validation batch (probe=valid). A validation probe is also taken before the first step of a new
    run, as step -1, if `wants(-1)`. Everything it sees is already summed over micro-batches and ranks, so that a
    balancer cannot depend on how a batch was split. All tensors are on the CPU. The loop multiplies the weights by
    each task's own prior weight, drops absent tasks and normalises the rest: a balancer does none of that.

    probe: what observe wants to see. probe_samples: with probe=valid, how many validation samples of each task.
    focal_gamma: the loss of a token that the model gives probability p is (1 - p) ** focal_gamma * -log p.
    """

    probe: Probe = "none"
    probe_samples: int = 0
    focal_gamma: float = 0.0

    def start(self, tasks: Sequence[str]) -> None:
        """Learn the names of the tasks, in the order of their ids. Called once, before load_state_dict."""
        self.tasks = list(tasks)

    @abstractmethod
    def weights(self, step: int, counts: Tensor) -> Tensor:
        """Weights [T] float64, non-negative, of any scale, for step `step` (from 0), whose batch holds `counts` [T]."""

    def wants(self, step: int) -> bool:
        """Whether observe should be called after step `step`."""
        return self.probe == "train" and step >= 0

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
    task's mean loss per task. Single process and DDP only. All methods here answer with a non-negative combination
    of the gradients that depends on nothing but their inner products, so only those T x T numbers are handled.
    """

    def weights(self, step: int, counts: Tensor) -> Tensor:
        """Equal weights [T]: the method is in `coefficients`."""
        return torch.ones(len(counts), dtype=torch.float64)

    def combine(self, step: int, gradients: Tensor, weights: Tensor) -> Tensor:
        """From gradients [T, P] of the tasks' mean losses and weights [T] (sum 1), the update direction [P].

        The rows of absent tasks are zero, and so are their weights. Called after weights and before observe.
        """
        gram = (gradients @ gradients.T).double().cpu()
        return self.coefficients(step, gram, weights.double().cpu()).to(gradients) @ gradients

    @abstractmethod
    def coefficients(self, step: int, gram: Tensor, weights: Tensor) -> Tensor:
        """The part [T] that each task's gradient has in the direction, from gram[i, j] = <g_i, g_j>, [T, T] float64."""
