"""Puts a run together, once its data and its model are loaded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mftcoder.balancer.base import Balancer
from mftcoder.core.batch import Batch, Sample
from mftcoder.core.errors import UserError
from mftcoder.core.progress import Progress
from mftcoder.core.rng import Generators
from mftcoder.core.signals import StopRequest
from mftcoder.core.state import State, Stateful
from mftcoder.data.base import Data
from mftcoder.data.corpus.tables import Corpus
from mftcoder.data.stream.collate import collate
from mftcoder.data.stream.sampler import Sampler
from mftcoder.engine.base import Engine
from mftcoder.model.weights import ModelWeights
from mftcoder.objective.base import Objective
from mftcoder.scheduler.base import Schedule
from mftcoder.storage.session import Session
from mftcoder.tracker.composite import Trackers
from mftcoder.training.anomalies import Anomalies
from mftcoder.training.answers import Samples
from mftcoder.training.loop import Trainer
from mftcoder.training.run import Run
from mftcoder.training.settings import Plan
from mftcoder.training.validation import Validator

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The data, the model with its adapter and the engine that has it: what all parts of a run have in common."""

    engine: Engine
    plan: Plan
    data: Data
    corpus: Corpus
    tokenizer: PreTrainedTokenizerBase
    net: PreTrainedModel | PeftModel
    sampler: Sampler

    @cached_property
    def total_steps(self) -> int:
        """Where the schedule ends: at what the plan says, or earlier where the data give no more.

        Raises UserError where they do not give a single step.
        """
        wanted = self.plan.max_train_steps
        total = self.sampler.steps(self.plan.num_train_epochs) if wanted is None else self.sampler.clipped(wanted)
        limit = "with each task repeated as often as data.tasks.<task>.repeat allows"
        if not total:
            raise UserError(f"the data do not fill one step, {limit}; allow more, or make the global batch smaller")
        if wanted is not None and total < wanted:
            log.info("training.max_train_steps: %d, but the data give %d, %s; the run ends there", wanted, total, limit)
        return total

    @cached_property
    def collate(self) -> Callable[[Sequence[Sample]], Batch]:
        """Samples to a batch."""
        return partial(collate, padding_mode=self.data.padding_mode, pad_id=self.tokenizer.pad_token_id)

    @cached_property
    def validator(self) -> Validator:
        """Of all tasks."""
        return Validator(
            engine=self.engine,
            split=self.corpus.valid,
            collate=self.collate,
            tokens_per_batch=self.plan.per_device_eval_batch_size * self.data.seq_length,
            samples_per_task=self.plan.evaluation_samples,
        )

    def trainer(self, *, objective: Objective, balancer: Balancer, scheduler: Schedule) -> Trainer:
        """What takes the steps, of the model as the engine has prepared it."""
        total_steps, expected = self.total_steps, None
        if objective.normalization == "expected":
            expected = torch.from_numpy(self.sampler.expected_counts(objective.reduction))
        return Trainer(
            engine=self.engine,
            objective=objective,
            balancer=balancer,
            collate=self.collate,
            learning_rate=lambda peak, step: scheduler.learning_rate(peak, step, total_steps),
            max_grad_norm=self.plan.max_grad_norm,
            diagnostics_steps=self.plan.diagnostics_steps,
            priors=torch.tensor(self.corpus.weights, dtype=torch.float64),
            expected=expected,
            probe=self.validator.probe,
        )

    def state(self, trainer: Trainer, anomalies: Anomalies) -> State:
        """All that a checkpoint holds."""
        engine = self.engine
        parts: dict[str, Stateful] = {
            "optimizer": engine,
            "balancer": trainer.balancer,
            "sampler": self.sampler,
            "rng": Generators(rank=engine.rank, gather=engine.gather),
            "effective": trainer.effective,
            "anomalies": anomalies,
        }
        return State(ModelWeights(engine, self.net, self.tokenizer), Progress(), parts)

    def run(
        self, *, trainer: Trainer, samples: Samples, checkpoints: Session, trackers: Trackers, stop: StopRequest
    ) -> Run:
        """The whole, before its first step."""
        run_dir = samples.run_dir
        anomalies = Anomalies(self.plan, self.engine, self.corpus.tasks, run_dir)
        return Run(
            corpus=self.corpus,
            plan=self.plan,
            total_steps=self.total_steps,
            trainer=trainer,
            sampler=self.sampler,
            validator=self.validator,
            samples=samples,
            state=self.state(trainer, anomalies),
            anomalies=anomalies,
            checkpoints=checkpoints,
            trackers=trackers,
            stop=stop,
            run_dir=run_dir,
        )
