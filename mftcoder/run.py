"""What happens around and between the steps of one run: validation, logs, checkpoints, stopping."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch

from mftcoder import status, summary
from mftcoder.checkpoint import Checkpoints
from mftcoder.core.errors import Preempted
from mftcoder.core.plan import Plan
from mftcoder.core.state import State
from mftcoder.data.corpus import Corpus
from mftcoder.data.sampler import Sampler
from mftcoder.loop import MicroBatches, Report, Trainer, steps
from mftcoder.measures import Metrics, task_losses, train_metrics, valid_metrics
from mftcoder.samples import Samples
from mftcoder.signals import StopRequest
from mftcoder.tracker.composite import Trackers
from mftcoder.validation import Validator

log = logging.getLogger(__name__)


@dataclass
class Run:
    """One run from its first step, or the one it was left at, to its last.

    total_steps: where the schedule ends. stop: whether somebody asked the run to stop.
    """

    corpus: Corpus
    plan: Plan
    total_steps: int
    trainer: Trainer
    sampler: Sampler
    validator: Validator
    samples: Samples
    state: State
    checkpoints: Checkpoints
    trackers: Trackers
    stop: StopRequest
    run_dir: Path
    warned: bool = field(default=False, init=False)

    def go(self) -> float | None:
        """Run to the end; the mean over the tasks of their best validation losses, None without any validation.

        Raises Preempted, with a checkpoint left behind, where it was asked to stop, and FloatingPointError where
        something was not finite and plan.non_finite says raise.
        """
        progress = self.state.progress
        if self.checkpoints.restore(self.state):
            self.trackers.resume(progress.step)
            self._weigh()
        else:
            self._begin()
        for report in steps(self.trainer, progress.step, self.total_steps, self._take):
            metrics = self._account(report)
            last = report.step == self.total_steps
            if self._due(self.plan.evaluation_steps) or last:
                metrics |= self._validate()
            finished = last or self._stalled()
            if self._due(self.plan.log_interval) or "valid/loss" in metrics:
                self.trackers.log(metrics)
            stopping = not finished and self._stop_requested()
            if finished or stopping or self.checkpoints.due(progress):
                self._save(metrics)
            if stopping:
                raise Preempted(f"stopped after step {report.step} of {self.total_steps}, with a checkpoint")
            if finished:
                break
        self.samples.write(progress.step)
        if self.trainer.engine.rank == 0:
            summary.show(progress, self.run_dir)
        best = [found[1] for task in progress.tasks if (found := progress.best(task))]
        return sum(best) / len(best) if best else None

    def _save(self, metrics: Metrics) -> None:
        """Leave a checkpoint, and note its step; not at every log, since a status is synced to the disk."""
        self.checkpoints.save(self.state, metrics=metrics)
        if self.trainer.engine.rank == 0:
            status.update(self.run_dir, step=self.state.progress.step)

    def _begin(self) -> None:
        """What a new run does before its first step."""
        self.trainer.observe(-1)
        self.samples.write(0)
        if self.plan.evaluate_first:
            self.trackers.log({"step": 0, "epoch": 0.0, "tokens": 0, **self._validate()})

    def _take(self) -> MicroBatches:
        """This rank's micro-batches of the next global batch."""
        engine = self.trainer.engine
        packs = self.sampler.take()
        share = len(packs) // engine.world_size
        own = packs[engine.rank * share : (engine.rank + 1) * share]
        size = self.plan.per_device_train_batch_size
        return [
            [self.corpus.train.sample(*reference) for pack in own[at : at + size] for reference in pack]
            for at in range(0, len(own), size)
        ]

    def _account(self, report: Report) -> Metrics:
        """Take a step into the progress; its metrics."""
        progress = self.state.progress
        progress.step = report.step
        for task, tokens in zip(self.corpus.tasks, report.size.tokens.tolist(), strict=True):
            progress.tokens[task] = progress.tokens.get(task, 0) + int(tokens)
        if report.skipped:
            self._refuse(report)
        self._warn_of_departures()
        position = {"step": report.step, "epoch": self.sampler.epoch, "tokens": sum(progress.tokens.values())}
        return position | train_metrics(report, self.trainer.effective, self.corpus.tasks, self.trainer.engine.device)

    def _refuse(self, report: Report) -> None:
        """A step that was not finite: keep what led to it, and stop or go on as the plan says."""
        anomaly = {
            "step": report.step,
            "grad_norm": str(report.grad_norm),
            "losses": dict(zip(self.corpus.tasks, map(str, report.losses.mean.tolist()), strict=True)),
            "samples": report.samples,
        }
        with (self.run_dir / "anomalies.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(anomaly) + "\n")
        message = f"step {report.step}: loss or gradient is not finite; nothing was updated; see anomalies.jsonl"
        if self.plan.non_finite == "raise":
            raise FloatingPointError(f"{message}. training.non_finite=skip goes on without such steps")
        log.warning(message)

    def _validate(self) -> Metrics:
        losses = self.validator.losses()
        progress = self.state.progress
        progress.validations.append((progress.step, task_losses(losses, self.corpus.tasks)))
        self._freeze()
        return valid_metrics(losses, self.corpus.tasks)

    def _freeze(self) -> None:
        """Hold at its floor each task that has not improved for long, and leave it there."""
        progress, limit = self.state.progress, self.plan.freeze_stall_num
        new = [t for t in progress.tasks if t not in progress.frozen and limit and progress.stalls(t) >= limit]
        for task in new:
            log.info("step %d: %s has stopped improving and is frozen", progress.step, task)
        progress.frozen += new
        self._weigh()

    def _weigh(self) -> None:
        """Give the trainer the tasks' own weights, those of frozen tasks cut down."""
        factors = [self.plan.frozen_weight if t in self.state.progress.frozen else 1.0 for t in self.corpus.tasks]
        priors = torch.tensor(self.corpus.weights, dtype=torch.float64)
        self.trainer.priors = priors * torch.tensor(factors, dtype=torch.float64)

    def _stop_requested(self) -> bool:
        """Whether any rank was asked to stop: all must leave after the same step."""
        return bool(self.trainer.engine.sum(torch.tensor([float(self.stop.requested)])) > 0)

    def _due(self, every: int | None) -> bool:
        return every is not None and self.state.progress.step % every == 0

    def _stalled(self) -> bool:
        """Whether what early stopping watches has seen no new best for long enough."""
        plan, progress = self.plan, self.state.progress
        if not plan.early_stopping:
            return False
        if plan.early_stopping_on == "mean":
            return progress.stalls() >= plan.early_stopping_stall_num
        watched = progress.tasks if plan.early_stopping_on in ("all", "any") else plan.early_stopping_on
        over = [progress.stalls(task) >= plan.early_stopping_stall_num for task in watched]
        return any(over) if plan.early_stopping_on == "any" else bool(over) and all(over)

    def _warn_of_departures(self) -> None:
        """Once the mean means something, say where tasks do not get the weight that was meant for them."""
        effective = self.trainer.effective
        if self.warned or effective.steps < 50:
            return
        if far := effective.departures():
            named = ", ".join(
                f"{self.corpus.tasks[t]} {got:.2f} instead of {meant:.2f}" for t, (got, meant) in far.items()
            )
            log.warning(
                "weights of the tasks so far: %s. Tasks that are absent from a step get nothing of it; "
                "data.stratified=true or objective.normalization=expected cures that",
                named,
            )
            self.warned = True
