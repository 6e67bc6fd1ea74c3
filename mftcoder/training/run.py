"""What happens around and between the steps of one run: validation, logs, checkpoints, stopping."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch

from mftcoder.core.errors import Interrupted, Preempted
from mftcoder.core.signals import StopRequest
from mftcoder.core.state import State
from mftcoder.data.corpus.tables import Corpus
from mftcoder.data.stream.sampler import Sampler
from mftcoder.storage import status
from mftcoder.storage.session import Session
from mftcoder.tracker.composite import Trackers
from mftcoder.training import summary
from mftcoder.training.anomalies import Anomalies
from mftcoder.training.answers import Samples
from mftcoder.training.loop import MicroBatches, Report, Trainer, steps
from mftcoder.training.metrics import Metrics, task_losses, train_metrics, valid_metrics
from mftcoder.training.settings import Plan
from mftcoder.training.validation import Validator

log = logging.getLogger(__name__)


@dataclass
class Run:
    """One run from its first step, or the one it was left at, to its last.

    total_steps: where the schedule ends. stop: whether somebody asked the run to stop. anomalies: what sends it back.
    """

    corpus: Corpus
    plan: Plan
    total_steps: int
    trainer: Trainer
    sampler: Sampler
    validator: Validator
    samples: Samples
    state: State
    anomalies: Anomalies
    checkpoints: Session
    trackers: Trackers
    stop: StopRequest
    run_dir: Path
    warned: bool = field(default=False, init=False)

    def go(self) -> float | None:
        """Run to the end; the mean over the tasks of their best validation losses, None without any validation.

        Raises Preempted, with what there is saved, where it was asked to stop, and UserError where a step went wrong
        and the plan does not say how to go on.
        """
        progress = self.state.progress
        self._announce()
        over = self._resume() if self.checkpoints.restore(self.state) else self._begin()
        while not over:
            over = self._train()
        self._answer(progress.step)
        if self.trainer.engine.rank == 0:
            summary.show(progress, self.run_dir)
        best = [found[1] for task in progress.tasks if (found := progress.best(task))]
        return sum(best) / len(best) if best else None

    def _begin(self) -> bool:
        """What a new run does before its first step; False, for it is not over."""
        try:
            self.trainer.observe(-1)
            self._answer(0)
            if self.plan.evaluate_first and self.validator.num_samples:
                self.trackers.log({"step": 0, "epoch": 0.0, "tokens": 0, **self._validate()})
        except Interrupted:
            raise Preempted("stopped before the first step, with nothing to save") from None
        return False

    def _resume(self) -> bool:
        """Go on where the state is, with the validation that a stop cut short; whether the run is over."""
        progress = self.state.progress
        self.trackers.resume(progress.step)
        self._weigh()
        validated = any(step == progress.step for step, _ in progress.validations)
        if not validated and self._validation_due():
            return self._after_step(self.checkpoints.metrics)
        return self._over()

    def _train(self) -> bool:
        """Steps to the end, or until one sends the run back to an earlier; whether it is over."""
        self.trackers.doing("")
        for report in steps(self.trainer, self.state.progress.step, self.total_steps, self._take):
            if self.anomalies.sends_back(report):
                self._go_back()
                return False
            if self._after_step(self._account(report)):
                break
        return True

    def _go_back(self) -> None:
        """Return to the last checkpoint, but not to its data: what comes next is new."""
        self.checkpoints.go_back(self.state, but=("sampler", "anomalies"))
        self.trackers.resume(self.state.progress.step)
        self._weigh()

    def _after_step(self, metrics: Metrics) -> bool:
        """What is due between this step and the next; whether the run is over."""
        step = self.state.progress.step
        try:
            metrics |= self._validate() if self._validation_due() else {}
        except Interrupted:
            self._save(metrics)
            raise Preempted(f"stopped in the validation after step {step}, with a checkpoint") from None
        over = self._over()
        if over or self._due(self.plan.log_interval) or "valid/loss" in metrics:
            self.trackers.log(metrics)
        stopping = not over and self._stop_requested()
        if over or stopping or self.checkpoints.due(self.state.progress):
            self._save(metrics)
        if stopping:
            raise Preempted(f"stopped after step {step} of {self.total_steps}, with a checkpoint")
        return over

    def _save(self, metrics: Metrics) -> None:
        """Leave a checkpoint, and note its step; not at every log, since a status is synced to the disk."""
        self.checkpoints.save(self.state, metrics=metrics)
        if self.trainer.engine.rank == 0:
            status.update(self.run_dir, step=self.state.progress.step)

    def _take(self) -> MicroBatches:
        """This rank's micro-batches of the next global batch."""
        engine = self.trainer.engine
        packs = self.sampler.take()
        share = len(packs) // engine.data_ranks
        own = packs[engine.data_rank * share : (engine.data_rank + 1) * share]
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
        self._warn_of_departures()
        position = {"step": report.step, "epoch": self.sampler.epoch, "tokens": sum(progress.tokens.values())}
        return position | train_metrics(report, self.trainer.effective, self.corpus.tasks, self.trainer.engine.device)

    def _answer(self, step: int) -> None:
        if not self.validator.num_samples:
            return
        self.trackers.doing("answering prompts")
        self.samples.write(step, lambda: self.stop.requested)

    def _validate(self) -> Metrics:
        """Raises Interrupted where the run is asked to stop meanwhile."""
        self.trackers.doing("validating")
        losses = self.validator.losses(between=self._check)
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

    def _check(self) -> None:
        if self._stop_requested():
            raise Interrupted

    def _validation_due(self) -> bool:
        due = self._due(self.plan.evaluation_steps) or self.state.progress.step == self.total_steps
        return due and self.validator.num_samples > 0

    def _due(self, every: int | None) -> bool:
        return every is not None and self.state.progress.step % every == 0

    def _over(self) -> bool:
        """Whether nothing is left to do; it says why, where that is not that all steps are taken."""
        step = self.state.progress.step
        if step >= self.total_steps:
            return True
        reason = "validation has stopped improving (training.early_stopping)" if self._stalled() else None
        if not self.trainer.priors.any():
            reason = "no task has any weight left (training.freeze_stall_num, training.frozen_weight)"
        if reason is not None:
            log.info("step %d: %s; the run ends before step %d", step, reason, self.total_steps)
        return reason is not None

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

    def _announce(self) -> None:
        if (engine := self.trainer.engine).rank > 0:
            return
        packs = self.plan.packs_per_step(engine.data_ranks)
        summary.announce(self.corpus, engine.module, packs_per_step=packs, total_steps=self.total_steps)
        if not self.validator.num_samples:
            self._warn_of_no_validation()

    def _warn_of_no_validation(self) -> None:
        blind = " The balancer weighs by validation losses, and will weigh all tasks alike."
        log.warning(
            "no task has a validation sample, so the run has no best step, no metric and no early stopping; "
            "data.data_split=[95,5,0] or a file valid.jsonl beside train.jsonl would give it some.%s",
            blind if self.trainer.balancer.probe == "valid" else "",
        )

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
