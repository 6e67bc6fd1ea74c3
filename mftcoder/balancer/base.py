"""The contract of all balancers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from mftcoder.core.batch import TaskLosses
from mftcoder.core.errors import UserError

Probe = Literal["none", "train", "valid"]


class Balancer(ABC):
    """Gives each of T tasks its weight in the next step, from what it was shown of earlier steps.

    The loop calls, once: start(tasks); before each step: weights(step, counts); after it, if `wants(step)`:
    observe(step, losses), with the step's own training losses (probe=train), or with those of a fixed
    task-stratified validation batch (probe=valid). A validation probe is also taken before the first step of a new
    run, as step -1, if `wants(-1)`. Everything it sees is already summed over micro-batches and ranks, so that a
    balancer cannot depend on how a batch was split. All tensors are on the CPU. The loop multiplies the weights by
    each task's own prior weight, drops absent tasks and normalises the rest: a balancer does none of that.

    probe: what observe wants to see. probe_samples: with probe=valid, how many validation samples of each task; set by
    start.
    focal_gamma: the loss of a token that the model gives probability p is (1 - p) ** focal_gamma * -log p.
    kept: the attributes that are the state; they are replaced, never changed in place.
    """

    probe: Probe = "none"
    probe_samples: int = 0
    focal_gamma: float = 0.0
    kept: tuple[str, ...] = ()

    def start(self, tasks: Sequence[str]) -> None:
        """Learn the names of the tasks, in the order of their ids. Called once, before load_state_dict."""
        self.tasks = list(tasks)

    def fit(self, total_steps: int) -> list[str]:
        """Turn lengths that are fractions of the run into steps; called once, before `start`.

        Returns:
            What the user should know before the run begins: above all that it is too short for the method to act.
        """
        return []

    @abstractmethod
    def weights(self, step: int, counts: Tensor) -> Tensor:
        """Weights [T] float64, non-negative, of any scale, for step `step` (from 0).

        counts [T]: the units of each task in the step's batch; with normalization=expected, those that the mixture
        promises a step.
        """

    def wants(self, step: int) -> bool:
        """Whether observe should be called after step `step`."""
        return self.probe == "train" and step >= 0

    def observe(self, step: int, losses: TaskLosses) -> None:
        """Take in the losses of step `step`; a task without a count was absent."""

    def state_dict(self) -> dict[str, Any]:
        """All that the next weights depend on: tensors, numbers, strings, and lists and dicts of them."""
        return {name: getattr(self, name) for name in ("tasks", *self.kept)} if self.kept else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue as the balancer that gave `state`; raises UserError if that was another one, or had other tasks."""
        if not self.kept:
            return
        if missing := [name for name in ("tasks", *self.kept) if name not in state]:
            raise UserError(
                f"balancer: {type(self).__name__} did not write this checkpoint, which has no {', '.join(missing)}; "
                "resume with the balancer that did"
            )
        if state["tasks"] != self.tasks:
            raise UserError(f"balancer: the checkpoint balances {state['tasks']}, this run has the tasks {self.tasks}")
        vars(self).update({name: state[name] for name in self.kept})


class AdaptiveBalancer(Balancer):
    """A balancer that learns its weights from losses, within bounds that the user sets.

    min_weight, max_weight: the smallest and the largest weight, on the scale where the mean over all tasks is 1
    (None: no largest). floor: the share of all weight that is handed out evenly before that, from 0 to 1.
    """

    kept: tuple[str, ...] = ("raw",)

    def __init__(self, *, min_weight: float, max_weight: float | None, floor: float) -> None:
        if not 0 <= min_weight < 1 or (max_weight is not None and max_weight <= 1):
            raise ValueError(
                f"min_weight: {min_weight}, max_weight: {max_weight}: the mean weight, 1, must lie between them "
                "(0 <= min_weight < 1 < max_weight)"
            )
        if not 0 <= floor <= 1:
            raise ValueError(f"floor: {floor} is not a share from 0 to 1")
        self.min_weight, self.max_weight, self.floor = min_weight, max_weight, floor

    def start(self, tasks: Sequence[str]) -> None:
        """Begin with equal weights."""
        super().start(tasks)
        self.raw = torch.ones(len(tasks), dtype=torch.float64)

    def weights(self, step: int, counts: Tensor) -> Tensor:
        """What was learnt so far, [T] with mean 1, within the bounds."""
        return self.bounded(self.raw)

    def observe(self, step: int, losses: TaskLosses) -> None:
        """Learn from the finite ones of these losses; the others are absent.

        Losses are held within 1e-8 and 1e8, since the methods divide by them and take their logarithms.
        """
        means = losses.mean.cpu()
        raw = self.update(step, torch.where(means.isfinite(), means.clamp(1e-8, 1e8), torch.nan)).clamp(max=1e300)
        self.raw = torch.where(raw.isnan(), raw.nanmean().nan_to_num(1.0), raw)

    @abstractmethod
    def update(self, step: int, means: Tensor) -> Tensor:
        """Take in the mean losses [T] of step `step`, NaN where a task is absent; the new weights [T], of any scale.

        A weight of NaN says that nothing is known of the task; it is given the mean of the others.
        """

    def bounded(self, raw: Tensor) -> Tensor:
        """`raw` [T] scaled to mean 1, mixed with the floor, then scaled again so that it keeps its mean in the bounds.

        The second scale c solves mean(clamp(c * w, min_weight, max_weight)) = 1. The left side grows with c and is
        linear between the points where a weight reaches a bound, so the solution is found between two of them.
        """
        number = len(raw)
        low, high = self.min_weight, min(self.max_weight or number, number)
        weights = (raw / raw.max().clamp(min=1e-300)).clamp(min=1e-12)
        weights = (1 - self.floor) * weights / weights.mean() + self.floor
        if low <= weights.min() and weights.max() <= high:
            return weights
        scales = torch.cat([low / weights, high / weights]).sort().values
        means = (scales[:, None] * weights).clamp(low, high).mean(dim=1)
        right = int(torch.searchsorted(means, 1.0).clamp(1, 2 * number - 1))
        along = (1 - means[right - 1]) / (means[right] - means[right - 1])
        return (torch.lerp(scales[right - 1], scales[right], along) * weights).clamp(low, high)


class GradientBalancer(Balancer):
    """A balancer that needs the gradient of each task by itself.

    The loop then runs each task's samples as micro-batches of their own and collects one flat gradient of the
    task's mean loss per task. Single process and DDP only. All methods here answer with a non-negative combination
    of the gradients that depends on nothing but their inner products, so only those T x T numbers are handled.
    """

    def conflicts(self, parts: Mapping[str, Any]) -> Iterator[str]:
        """Why it cannot run with the other components of a run."""
        if not getattr(parts.get("engine"), "whole_gradients", True):
            yield (
                f"{type(self).__name__} takes each task's gradient apart from the others', and this engine spreads "
                "gradients over the processes; use engine=single or engine=ddp, or a balancer that looks at losses"
            )

    def weights(self, step: int, counts: Tensor) -> Tensor:
        """Equal weights [T]: the method is in `coefficients`."""
        return torch.ones(len(counts), dtype=torch.float64)

    def parts(self, step: int, gradients: Tensor, weights: Tensor) -> Tensor:
        """What each task's gradient has in the update direction; called after weights and before observe.

        Args:
            step: from 0.
            gradients: [T, P] of the tasks' mean losses; the rows of absent tasks are zero, and so are their weights.
            weights: [T], which sum to 1 with normalization=step, with normalization=expected on average over the steps.

        Returns:
            [T] float64.
        """
        gram = (gradients @ gradients.T).double().cpu()
        return self.coefficients(step, gram, weights.double().cpu())

    def combine(self, step: int, gradients: Tensor, weights: Tensor) -> Tensor:
        """The update direction [P], of the same arguments."""
        return self.parts(step, gradients, weights).to(gradients) @ gradients

    @abstractmethod
    def coefficients(self, step: int, gram: Tensor, weights: Tensor) -> Tensor:
        """The part [T] that each task's gradient has in the direction, from gram[i, j] = <g_i, g_j>, [T, T] float64."""
