"""The settings of a training run, one class for each thing that they are about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from mftcoder.core.errors import raise_faults
from mftcoder.core.lengths import length_fault

MAY_BE_ZERO = ("sample_generations", "frozen_weight")
LENGTHS = ("log_interval", "evaluation_steps")


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """How long a run trains, and what one optimizer step takes.

    A global batch is data ranks * per_device_train_batch_size * gradient_accumulation_steps packs (samples, where data
    are padded); the data ranks are the processes, or with engine.context_parallel the groups of them.

    Args:
        num_train_epochs: passes over the data.
        max_train_steps: optimizer steps; wins over num_train_epochs.
        per_device_train_batch_size: packs in a micro-batch.
        gradient_accumulation_steps: micro-batches of a rank in a step.
        max_grad_norm: the global gradient norm is clipped to it; None for no clipping.
        torch_compile: compile the decoder layers.
    """

    num_train_epochs: float
    max_train_steps: int | None
    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    max_grad_norm: float | None
    torch_compile: bool

    def packs_per_step(self, data_ranks: int) -> int:
        """Packs of one global batch, which is divided into so many shares."""
        return data_ranks * self.per_device_train_batch_size * self.gradient_accumulation_steps


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What is measured while training, and how often.

    Args:
        log_interval: steps between two logs, or a fraction of the run.
        evaluation_steps: steps between two validations, or a fraction of the run; None for after the last step only.
        evaluation_samples: the most validation samples of each task; None for all.
        evaluate_first: validate before the first step.
        per_device_eval_batch_size: packs' worth of tokens in a micro-batch of the validation.
        diagnostics_steps: steps between two measurements of each task's gradient; None for never.
    """

    log_interval: int | float
    evaluation_steps: int | float | None
    evaluation_samples: int | None
    evaluate_first: bool
    per_device_eval_batch_size: int
    diagnostics_steps: int | None

    def _evaluation_faults(self) -> Iterator[str]:
        for name in LENGTHS:
            if fault := length_fault(name, getattr(self, name)):
                yield fault


@dataclass(frozen=True, kw_only=True)
class StoppingSettings:
    """What happens where validation no longer improves.

    Args:
        early_stopping: whether the run ends.
        early_stopping_stall_num: validations in a row without a new best that end it.
        early_stopping_on: a new best of the mean of the tasks, of all of them, of any, or of all those named.
        freeze_stall_num: validations without a new best after which a task is frozen; None for never.
        frozen_weight: share of its weight, from 0 to 1, that a frozen task keeps.
    """

    early_stopping: bool
    early_stopping_stall_num: int
    early_stopping_on: Literal["mean", "all", "any"] | list[str]
    freeze_stall_num: int | None
    frozen_weight: float

    def _stopping_faults(self) -> Iterator[str]:
        if not 0 <= self.frozen_weight <= 1:
            yield f"frozen_weight: {self.frozen_weight} is not a share from 0 to 1"
        if self.early_stopping_on == []:
            yield f"early_stopping_on: {self.early_stopping_on} names no task; give mean, all, any, or names of tasks"


@dataclass(frozen=True, kw_only=True)
class AnomalySettings:
    """What a step leads to that went wrong.

    Args:
        non_finite: answer to a NaN or infinite loss or gradient, on which no rank ever updates.
        loss_spike: answer to a loss above loss_spike_factor times the median of the last loss_spike_window losses.
            rollback returns to the last checkpoint, of which there must be one, and continues with the data that
            come next.
        loss_spike_factor: above 1.
        loss_spike_window: finite losses; until there are so many, nothing is a spike.
        anomaly_limit: the most skips or rollbacks in a row without getting past the step that failed.
    """

    non_finite: Literal["raise", "skip", "rollback"]
    loss_spike: Literal["log", "raise", "rollback"]
    loss_spike_factor: float
    loss_spike_window: int
    anomaly_limit: int

    def _anomaly_faults(self) -> Iterator[str]:
        if 0 < self.loss_spike_factor <= 1:
            yield f"loss_spike_factor: {self.loss_spike_factor} is not above 1, so that any loss would be a spike"


@dataclass(frozen=True, kw_only=True)
class AnswerSettings:
    """How many validation prompts the model answers before and after training.

    Args:
        sample_generations: prompts of each task; 0 for none.
        sample_tokens: the most tokens of an answer.
    """

    sample_generations: int
    sample_tokens: int

    def _answer_faults(self) -> Iterator[str]:
        if self.sample_generations < 0:
            yield f"sample_generations: {self.sample_generations} is below 0, which is for none"


@dataclass(frozen=True, kw_only=True)
class Settings(StepSettings, EvaluationSettings, StoppingSettings, AnomalySettings, AnswerSettings):
    """The node `training` of a configuration: all of the above in one flat list of keys.

    Raises:
        ValueError: for all settings that cannot be, a line each.
    """

    def __post_init__(self) -> None:
        raise_faults([f"training.{fault}" for fault in self._faults()], ValueError)

    def _faults(self) -> Iterator[str]:
        for name, value in ((field.name, getattr(self, field.name)) for field in fields(self)):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if number and name not in (*MAY_BE_ZERO, *LENGTHS) and not value > 0:
                yield f"{name}: {value} is not above 0"
        yield from (
            *self._evaluation_faults(),
            *self._answer_faults(),
            *self._stopping_faults(),
            *self._anomaly_faults(),
        )

    def conflicts(self, parts: Mapping[str, Any]) -> Iterator[str]:
        """Why it cannot run with the other components of a run."""
        if self.torch_compile and getattr(parts.get("model"), "gradient_checkpointing", False):
            yield (
                "torch_compile: checkpointed layers would run uncompiled; take model.gradient_checkpointing=false "
                "where memory allows it (compiled layers keep less), or training.torch_compile=false"
            )
        named = self.early_stopping_on if isinstance(self.early_stopping_on, list) else []
        tasks = parts["data"].task_names() if hasattr(parts.get("data"), "task_names") else []
        if tasks and (unknown := [name for name in named if name not in tasks]):
            yield f"early_stopping_on: no task named {', '.join(unknown)}; the tasks are {', '.join(tasks)}"
