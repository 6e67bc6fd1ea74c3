"""The arithmetic of one multi-task optimizer step, and the generator of steps.

What every task's mean is over is counted over the whole global batch, all micro-batches and all ranks, before the first
backward pass. So each micro-batch knows the final coefficient of its tokens, and gradients only need summing: loss and
gradient are the same however the batch is split.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mftcoder.balancer.base import Balancer, GradientBalancer
from mftcoder.core.batch import Batch, TaskLosses
from mftcoder.core.coefficients import EffectiveWeights, TokenWeights, token_coefficients
from mftcoder.data.stream.micro_batches import MicroBatcher, MicroBatches
from mftcoder.engine.base import Engine
from mftcoder.objective.base import Objective
from mftcoder.training.task_gradients import set_gradient, task_gradients


@dataclass(frozen=True, slots=True)
class BatchSize:
    """How big a global batch was, over all ranks.

    Args:
        denominators: [T] what each task's mean is over, supervised tokens or samples.
        tokens: [T] real tokens.
        targets: supervised tokens of all tasks.
        positions: what the model was fed, padding included.
    """

    denominators: Tensor
    tokens: Tensor
    targets: int
    positions: int


@dataclass
class Report:
    """What one optimizer step did, summed over all ranks.

    Args:
        step: steps finished.
        loss: the weighted objective.
        losses: totals and denominators [T].
        weights: [T] of the tasks that came, with sum 1.
        size: of the global batch.
        learning_rate: of the first parameter group.
        grad_norm: before clipping.
        samples: (task, row) of those that this rank took.
        skipped: something was not finite, so nothing was updated.
        gradients: [T, P] of the tasks' mean losses, where they were taken apart.
        seconds: by phase.
    """

    step: int
    loss: float
    losses: TaskLosses
    weights: Tensor
    size: BatchSize
    learning_rate: float
    grad_norm: float
    samples: list[tuple[int, int]]
    skipped: bool = False
    gradients: Tensor | None = None
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(kw_only=True)
class Trainer:
    """Takes optimizer steps; knows nothing of data order, evaluation, logs or checkpoints.

    Args:
        engine: prepared.
        objective: what is minimised.
        balancer: started.
        batcher: samples to batches.
        learning_rate: from a parameter group's peak and the step (from 0).
        max_grad_norm: the global norm that gradients are clipped to, or None.
        diagnostics_steps: steps between two measurements of the tasks' gradients, or None.
        priors: [T] float64, the tasks' own weights that hold now, which multiply the balancer's.
        expected: [T] float64, the denominators that the mixture promised to the batch at hand; None for
            normalization=step.
        probe: validation losses of so many samples of each task.

    Attributes:
        effective: what the weights came to so far, a part of the state.
    """

    engine: Engine
    objective: Objective
    balancer: Balancer
    batcher: MicroBatcher
    learning_rate: Callable[[float, int], float]
    max_grad_norm: float | None
    diagnostics_steps: int | None
    priors: Callable[[], Tensor]
    expected: Callable[[], Tensor | None]
    probe: Callable[[int], TaskLosses]

    def __post_init__(self) -> None:
        self.num_tasks = len(self.priors())
        self.effective = EffectiveWeights(self.num_tasks)
        self.peaks = [group["lr"] for group in self.engine.optimizer.param_groups]

    def step(self, number: int, micro_batches: MicroBatches) -> Report:
        """Train on this rank's micro-batches of global batch `number` (from 0)."""
        seconds: dict[str, float] = defaultdict(float)
        by_task = isinstance(self.balancer, GradientBalancer) or self._diagnoses(number)
        with _clock(seconds, "data"):
            batches = self._batches(micro_batches, by_task=by_task)
            size = self._size([batch for own in batches for batch in own])
            expected = self.expected()
            promised = size.denominators if expected is None else expected
            weights = self.balancer.weights(number, promised) * self.priors()
            coefficients = token_coefficients(weights, size.denominators, expected)
        with _clock(seconds, "forward_backward"):
            if by_task:
                loss, totals, gradients, shares = self._by_task(number, batches, size.denominators, coefficients)
            else:
                (loss, totals), gradients = self._together(batches[0], coefficients), None
                shares = coefficients * size.denominators
        with _clock(seconds, "optimizer"):
            rate, norm, finite = self._update(number, totals, moves=bool(coefficients.any()))
        losses = TaskLosses(totals, size.denominators)
        if finite:
            self.effective.add(weights, shares)
            self.observe(number, losses)
        active = torch.where(losses.present, weights, 0.0)
        return Report(
            step=number + 1,
            loss=loss,
            losses=losses,
            weights=active / active.sum().clamp(min=1e-300),
            learning_rate=rate,
            grad_norm=norm,
            samples=[(s.task, s.index) for samples in micro_batches for s in samples],
            skipped=not finite,
            gradients=gradients,
            seconds=seconds,
            size=size,
        )

    def observe(self, number: int, losses: TaskLosses | None = None) -> None:
        """Show the balancer what it wants to see after step `number`; before the first step that is -1."""
        if self.balancer.wants(number):
            seen = self.probe(self.balancer.probe_samples) if self.balancer.probe == "valid" else losses
            assert seen is not None, "only validation probes may come before the first step"
            self.balancer.observe(number, seen)

    def _diagnoses(self, number: int) -> bool:
        return self.diagnostics_steps is not None and (number + 1) % self.diagnostics_steps == 0

    def _batches(self, micro_batches: MicroBatches, *, by_task: bool) -> list[list[Batch]]:
        """The micro-batches as one list; with by_task, one list a task, of micro-batches with nothing but it."""
        if by_task:
            return self.batcher.by_task(micro_batches, self.num_tasks)
        return [self.batcher.together(micro_batches)]

    def _size(self, batches: Sequence[Batch]) -> BatchSize:
        """Of the global batch: one sum over all ranks, of which those of a group count the same batches."""
        zeros = torch.zeros(self.num_tasks, dtype=torch.float64)
        denominators = sum((self.objective.denominators(b, self.num_tasks) for b in batches), zeros)
        tokens = sum((b.tokens_by_task(self.num_tasks) for b in batches), zeros)
        numbers = torch.tensor([(int(b.supervised.sum()), b.input_ids.numel()) for b in batches]).double().sum(0)
        sums = self.engine.sum(torch.cat([denominators, tokens, numbers])) / self.engine.context_parallel
        assert sums.dtype == torch.float64, "float64 at every hand-over"
        denominators, tokens, numbers = torch.split(sums, [*[self.num_tasks] * 2, 2])
        return BatchSize(denominators, tokens, int(numbers[0]), int(numbers[1]))

    def _together(self, batches: Sequence[Batch], coefficients: Tensor) -> tuple[float, Tensor]:
        """Backward through all micro-batches; the loss and the totals [T] over all ranks."""
        weights = TokenWeights(coefficients, self.balancer.focal_gamma).to(self.engine.device)
        sums = torch.zeros(1 + self.num_tasks, dtype=torch.float64)
        for i, batch in enumerate(batches, 1):
            with self.engine.micro_batch(last=i == len(batches)):
                loss, totals = self.objective.losses(self.engine.model, batch.to(self.engine.device), weights)
                self.engine.backward(loss)
            sums += torch.cat([loss.detach()[None].double(), totals]).cpu()
        sums = self.engine.sum(sums)
        return float(sums[0]), sums[1:]

    def _by_task(
        self, number: int, batches: Sequence[Sequence[Batch]], denominators: Tensor, coefficients: Tensor
    ) -> tuple[float, Tensor, Tensor, Tensor]:
        """As _together, with the gradients [T, P] of the tasks' means, and what each of them has [T] in the step's."""
        own = [[b.to(self.engine.device) for b in of_task] for of_task in batches]
        gamma = self.balancer.focal_gamma
        gradients, means, totals = task_gradients(self.engine, self.objective, own, denominators, gamma)
        weighted = shares = coefficients * denominators
        if isinstance(self.balancer, GradientBalancer):
            shares = self.balancer.parts(number, gradients, weighted.to(gradients))
        set_gradient(self.engine, shares.to(gradients) @ gradients)
        # Without a focal factor the float64 totals give the same loss, more exactly.
        loss = weighted * means if gamma else coefficients * totals
        return float(loss.sum()), totals, gradients, shares

    def _update(self, number: int, totals: Tensor, *, moves: bool) -> tuple[float, float, bool]:
        """Learning rate, gradient norm, and whether all was finite, without which the parameters stay as they are.

        So they do, with momentum and weight decay, where no task of the step has any weight.
        """
        rate = self._set_learning_rate(number)
        norm = self.engine.clip(self.max_grad_norm)
        finite = math.isfinite(norm) and bool(torch.isfinite(totals).all())
        (self.engine.step if finite and moves else self.engine.discard)()
        return rate, norm, finite

    def _set_learning_rate(self, number: int) -> float:
        """Of every parameter group; that of the first is returned."""
        for group, peak in zip(self.engine.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = self.learning_rate(peak, number)
        return float(self.engine.optimizer.param_groups[0]["lr"])


def steps(trainer: Trainer, first: int, last: int, take: Callable[[], MicroBatches]) -> Iterator[Report]:
    """Reports of steps `first` to `last` - 1; take() gives this rank's micro-batches of the next global batch."""
    for number in range(first, last):
        started = time.perf_counter()
        micro_batches = take()
        taken = time.perf_counter() - started
        report = trainer.step(number, micro_batches)
        report.seconds["data"] += taken
        yield report


@contextmanager
def _clock(seconds: dict[str, float], phase: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[phase] += time.perf_counter() - started
