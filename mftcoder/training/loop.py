"""The arithmetic of one multi-task optimizer step, and the generator of steps.

The units of every task are counted over the whole global batch, all micro-batches and all ranks, before the first
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
from mftcoder.core.batch import Batch, Sample, TaskLosses
from mftcoder.core.coefficients import EffectiveWeights, coefficients
from mftcoder.data.stream.collate import grouped
from mftcoder.engine.base import Engine
from mftcoder.objective.base import Objective
from mftcoder.training.task_gradients import set_gradient, task_gradients

MicroBatches = Sequence[Sequence[Sample]]


@dataclass(frozen=True, slots=True)
class Size:
    """How big a global batch was, over all ranks.

    units [T]: what each task's mean is over, targets or samples. tokens [T]: real tokens. targets: supervised tokens.
    positions: what the model was fed, padding included.
    """

    units: Tensor
    tokens: Tensor
    targets: int
    positions: int


@dataclass
class Report:
    """What one optimizer step did. Vectors are [T] over the tasks and already summed over all ranks.

    step: steps finished. loss: the weighted objective. weights: of the tasks that came, with sum 1. grad_norm: before
    clipping. seconds: by phase. gradients: [T, P] of the tasks' means, where they were taken apart. skipped: something
    was not finite, so nothing was updated.
    """

    step: int
    loss: float
    losses: TaskLosses
    weights: Tensor
    size: Size
    learning_rate: float
    grad_norm: float
    samples: list[tuple[int, int]]
    skipped: bool = False
    gradients: Tensor | None = None
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(kw_only=True)
class Trainer:
    """Takes optimizer steps; knows nothing of data order, evaluation, logs or checkpoints.

    collate: samples to a batch. learning_rate: from a group's peak and the step. diagnostics_steps: steps between two
    measurements of the tasks' gradients, or None. priors [T]: the tasks' own weights, which multiply the balancer's.
    expected [T]: units that the mixture promises a step (normalization=expected), or None. probe: validation losses of
    so many samples a task, after a step. effective: what the weights came to so far, a part of the state.
    """

    engine: Engine
    objective: Objective
    balancer: Balancer
    collate: Callable[[Sequence[Sample]], Batch]
    learning_rate: Callable[[float, int], float]
    max_grad_norm: float | None
    diagnostics_steps: int | None
    priors: Tensor
    expected: Tensor | None
    probe: Callable[[int], TaskLosses]

    def __post_init__(self) -> None:
        self.effective = EffectiveWeights(len(self.priors))
        self.peaks = [group["lr"] for group in self.engine.optimizer.param_groups]

    def step(self, number: int, micro_batches: MicroBatches) -> Report:
        """Train on this rank's micro-batches of global batch `number` (from 0)."""
        seconds: dict[str, float] = defaultdict(float)
        by_task = isinstance(self.balancer, GradientBalancer) or self._diagnoses(number)
        with _clock(seconds, "data"):
            batches = self._batches(micro_batches, by_task=by_task)
            size = self._size([b for own in batches for b in own])
            counts = size.units if self.expected is None else self.expected
            weights = self.balancer.weights(number, counts) * self.priors
            shares = coefficients(weights, size.units, self.expected)
        with _clock(seconds, "forward_backward"):
            if by_task:
                loss, totals, gradients = self._by_task(number, batches, size.units, shares)
            else:
                (loss, totals), gradients = self._together(batches[0], shares), None
        with _clock(seconds, "optimizer"):
            rate, norm, finite = self._update(number, totals)
        losses = TaskLosses(totals, size.units)
        if finite:
            self.effective.add(weights, size.units, shares)
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
        if not by_task:
            return [[self.collate(samples) for samples in micro_batches]]
        tokens, number = max(sum(map(len, samples)) for samples in micro_batches), max(map(len, micro_batches))
        everything = [sample for samples in micro_batches for sample in samples]
        parts = [[s for s in everything if s.task == t] for t in range(len(self.priors))]
        groups = [grouped(own, len, tokens=tokens, number=number) for own in parts]
        return [[self.collate(group) for group in of_task] for of_task in groups]

    def _size(self, batches: Sequence[Batch]) -> Size:
        """Of the global batch: one sum over all ranks, of which those of a group count the same batches."""
        zeros = torch.zeros(len(self.priors), dtype=torch.float64)
        units = sum((self.objective.counts(b, len(zeros)) for b in batches), zeros)
        tokens = sum((b.tokens_by_task(len(zeros)) for b in batches), zeros)
        numbers = torch.tensor([(int(b.supervised.sum()), b.input_ids.numel()) for b in batches]).double().sum(0)
        sums = self.engine.sum(torch.cat([units, tokens, numbers])) / self.engine.context_parallel
        units, tokens, numbers = torch.split(sums, [*[len(zeros)] * 2, 2])
        return Size(units, tokens, int(numbers[0]), int(numbers[1]))

    def _together(self, batches: Sequence[Batch], shares: Tensor) -> tuple[float, Tensor]:
        """Backward through all micro-batches; the loss and the totals [T] over all ranks."""
        coefs, sums = shares.to(self.engine.device), torch.zeros(1 + len(shares), dtype=torch.float64)
        for i, batch in enumerate(batches, 1):
            with self.engine.micro_batch(last=i == len(batches)):
                loss, totals = self.objective.losses(
                    self.engine.model, batch.to(self.engine.device), coefs, self.balancer.focal_gamma
                )
                self.engine.backward(loss)
            sums += torch.cat([loss.detach()[None].double(), totals]).cpu()
        sums = self.engine.sum(sums)
        return float(sums[0]), sums[1:]

    def _by_task(
        self, number: int, batches: Sequence[Sequence[Batch]], counts: Tensor, shares: Tensor
    ) -> tuple[float, Tensor, Tensor]:
        """As _together, with the gradients [T, P] of the tasks' means, which the balancer may combine."""
        own = [[b.to(self.engine.device) for b in batches_of_task] for batches_of_task in batches]
        gradients, totals = task_gradients(self.engine, self.objective, own, counts, self.balancer.focal_gamma)
        totals = self.engine.sum(totals)
        mass = (shares * counts).to(gradients)
        if isinstance(self.balancer, GradientBalancer):
            direction = self.balancer.combine(number, gradients, mass)
        else:
            direction = mass @ gradients
        set_gradient(self.engine, direction)
        return float((shares * totals).sum()), totals, gradients

    def _update(self, number: int, totals: Tensor) -> tuple[float, float, bool]:
        """Learning rate, gradient norm, and whether all was finite, without which the parameters stay as they are."""
        rate = self._set_learning_rate(number)
        norm = self.engine.clip(self.max_grad_norm)
        finite = math.isfinite(norm) and bool(torch.isfinite(totals).all())
        (self.engine.step if finite else self.engine.discard)()
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
