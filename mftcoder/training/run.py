"""One run from its first step to its last: what happens around and between the steps."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch

from mftcoder.core.errors import Interrupted, Preempted
from mftcoder.core.state import State
from mftcoder.data.stream.stream import ExhaustedError
from mftcoder.storage import status
from mftcoder.storage.session import Session
from mftcoder.system.signals import StopRequest
from mftcoder.tracker.composite import Trackers
from mftcoder.training.feed import Feed
from mftcoder.training.freezing import Freezing
from mftcoder.training.loop import Report, Trainer, steps
from mftcoder.training.monitoring import summary
from mftcoder.training.monitoring.anomalies import Anomalies
from mftcoder.training.monitoring.answers import Answers
from mftcoder.training.monitoring.metrics import Metrics, task_losses, train_losses, train_metrics, valid_metrics
from mftcoder.training.monitoring.notices import Departures
from mftcoder.training.monitoring.validation import Validator
from mftcoder.training.schedule import Schedule

log = logging.getLogger(__name__)

KEPT_IN_ROLLBACK = ("sampler", "anomalies")
"""Parts of the state that do not return to the checkpoint: the data that come next are new."""


@dataclass(kw_only=True)
class Run:
    """One run from its first step, or the one it was left at, to its last.

    Args:
        trainer: takes the steps.
        feed: of global batches.
        validator: of the held-out samples.
        schedule: when to log, to validate and to end.
        freezing: the tasks' own weights.
        departures: warns of effective weights.
        answers: to validation prompts.
        anomalies: judges each step.
        state: all that a checkpoint holds.
        evaluate_first: validate before the first step.
        checkpoints: of this run.
        trackers: get the metrics (rank 0).
        stop: whether somebody asked the run to stop.
        run_dir: of the run.
    """

    trainer: Trainer
    feed: Feed
    validator: Validator
    schedule: Schedule
    freezing: Freezing
    departures: Departures
    answers: Answers
    anomalies: Anomalies
    state: State
    evaluate_first: bool
    checkpoints: Session
    trackers: Trackers
    stop: StopRequest
    run_dir: Path
    data_left: bool = field(default=True, init=False)

    def go(self) -> float | None:
        """Run to the end.

        Returns:
            The mean over the tasks of their best validation losses, None without any validation.

        Raises:
            Preempted: asked to stop, with what there is saved.
            UserError: a step went wrong and the settings do not say how to go on.
        """
        progress = self.state.progress
        (self._resume if self.checkpoints.restore(self.state) else self._begin)()
        while (reason := self._end()) is None:
            self._train()
        if progress.step < self.schedule.total_steps:
            log.info("step %d: %s; the run ends before step %d", progress.step, reason, self.schedule.total_steps)
        self._answer()
        if self.trainer.engine.rank == 0:
            summary.show(progress, self.run_dir)
        best = [found[1] for task in progress.tasks if (found := progress.best(task))]
        return sum(best) / len(best) if best else None

    def _end(self) -> str | None:
        """Why the run is over; None while it is not."""
        return self.schedule.end(self.state.progress, self.freezing.priors(), data_left=self.data_left)

    def _begin(self) -> None:
        """What a new run does before its first step."""
        try:
            self.trainer.observe(-1)
            self._answer()
            if self.evaluate_first and self.validator.num_samples:
                self.trackers.log({"step": 0, "epoch": 0.0, "tokens": 0, **self._validate()})
        except Interrupted:
            raise Preempted("stopped before the first step, with nothing to save", saved=False) from None

    def _resume(self) -> None:
        """Continue where the state is, with the validation that a stop cut short."""
        self.trackers.resume(self.state.progress.step)
        if self._validation_due():
            self._after_step(self.checkpoints.metrics)

    def _train(self) -> None:
        """Steps to the end, or until one sends the run back to an earlier."""
        self.trackers.doing("")
        try:
            self._take_steps()
        except ExhaustedError:
            # Only after rollbacks: the steps were counted without the batches that those have thrown away.
            self.data_left = False
            self._after_step(self._position())

    def _take_steps(self) -> None:
        for report in steps(self.trainer, self.state.progress.step, self.schedule.total_steps, self.feed.take):
            if self.anomalies.judge(report) == "roll_back":
                self.checkpoints.go_back(self.state, but=KEPT_IN_ROLLBACK)
                self.trackers.resume(self.state.progress.step)
                return
            self._after_step(self._account(report))
            if self._end():
                return

    def _after_step(self, metrics: Metrics) -> None:
        """Validate, log, save and stop, whatever of it is due between this step and the next."""
        step = self.state.progress.step
        try:
            metrics |= self._validate() if self._validation_due() else {}
        except Interrupted:
            self._save(metrics)
            raise Preempted(f"stopped in the validation after step {step}, with a checkpoint") from None
        over = self._end() is not None
        if over or self.schedule.logs(step) or "valid/loss" in metrics:
            metrics |= self.state.progress.take_means()
            self.trackers.log(metrics)
        stopping = not over and self._stop_requested()
        if over or stopping or self.checkpoints.due(self.state.progress, total_steps=self.schedule.total_steps):
            self._save(metrics)
        if stopping:
            raise Preempted(f"stopped after step {step} of {self.schedule.total_steps}, with a checkpoint")

    def _save(self, metrics: Metrics) -> None:
        """Leave a checkpoint, and note its step; not at every log, since a status is synced to the disk."""
        self.checkpoints.save(self.state, metrics=metrics)
        if self.trainer.engine.rank == 0:
            status.update(self.run_dir, step=self.state.progress.step)

    def _account(self, report: Report) -> Metrics:
        """Take a step into the progress; its metrics."""
        progress, tasks = self.state.progress, self.freezing.tasks
        progress.step = report.step
        for task, tokens in zip(tasks, report.size.tokens.tolist(), strict=True):
            progress.tokens[task] = progress.tokens.get(task, 0) + int(tokens)
        progress.add_losses(train_losses(report, tasks))
        self.departures.check()
        return self._position() | train_metrics(report, self.trainer.effective, tasks, self.trainer.engine.device)

    def _position(self) -> Metrics:
        progress = self.state.progress
        return {"step": progress.step, "epoch": self.feed.sampler.epoch, "tokens": sum(progress.tokens.values())}

    def _answer(self) -> None:
        if not self.validator.num_samples:
            return
        self.trackers.doing("answering prompts")
        self.answers.write(self.state.progress.step, lambda: self.stop.requested)

    def _validation_due(self) -> bool:
        return self.validator.num_samples > 0 and self.schedule.validates(self.state.progress, data_left=self.data_left)

    def _validate(self) -> Metrics:
        """Raises Interrupted where the run is asked to stop meanwhile."""
        self.trackers.doing("validating")
        losses = self.validator.losses(between=self._check)
        progress, tasks = self.state.progress, self.freezing.tasks
        trained = self.validator.trained
        progress.validations.append((progress.step, task_losses(losses, tasks, trained)))
        for task in self.freezing.freeze():
            log.info("step %d: %s has stopped improving and is frozen", progress.step, task)
        return valid_metrics(losses, tasks, trained)

    def _stop_requested(self) -> bool:
        """Whether any rank was asked to stop: all must leave after the same step."""
        return bool(self.trainer.engine.sum(torch.tensor([float(self.stop.requested)])) > 0)

    def _check(self) -> None:
        if self._stop_requested():
            raise Interrupted
