"""How long and in what portions a run trains, and what it does every so many steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

FROM_ZERO = ("sample_generations", "frozen_weight")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The `training` node. Steps are optimizer steps; a global batch is
    processes * per_device_train_batch_size * gradient_accumulation_steps packs (or dialogues, where data is padded);
    with engine.context_parallel, groups of processes in place of processes.

    num_train_epochs: passes over the data. max_train_steps: a limit that wins over it.
    max_grad_norm: the global gradient norm is clipped to it. log_interval, evaluation_steps, diagnostics_steps: steps
    between two logs, validations, and measurements of each task's gradient; None for never.
    evaluation_samples: the most validation samples of each task, None for all.
    evaluate_first: validate before the first step. early_stopping: stop after early_stopping_stall_num validations in
    a row without a new best: of the mean of the tasks, of all of them, of any, or of all those named.
    freeze_stall_num: after this many validations without a new best, a task keeps only the share frozen_weight of its
    weight.
    sample_generations: validation prompts a task that are answered before and after, each
    with up to sample_tokens tokens.
    non_finite: what a NaN or infinite loss or gradient leads to; no rank ever updates on it. loss_spike: what a loss
    leads to that is over loss_spike_factor times the median of the last loss_spike_window losses. rollback: back to the
    last checkpoint, of which there must be one, and on from there with the data that comes next; skipped and repeated
    batches are those since then.
    torch_compile: compile the decoder layers (see mftcoder.core.layers).
    anomaly_limit: most skips or rollbacks in a row without getting past the step that failed; one more stops the run.
    """

    num_train_epochs: float
    max_train_steps: int | None
    per_device_train_batch_size: int
    per_device_eval_batch_size: int
    gradient_accumulation_steps: int
    max_grad_norm: float | None
    log_interval: int
    evaluation_steps: int | None
    evaluation_samples: int | None
    evaluate_first: bool
    diagnostics_steps: int | None
    torch_compile: bool
    early_stopping: bool
    early_stopping_stall_num: int
    early_stopping_on: Literal["mean", "all", "any"] | list[str]
    freeze_stall_num: int | None
    frozen_weight: float
    sample_generations: int
    sample_tokens: int
    non_finite: Literal["raise", "skip", "rollback"]
    loss_spike: Literal["log", "raise", "rollback"]
    loss_spike_factor: float
    loss_spike_window: int
    anomaly_limit: int

    def __post_init__(self) -> None:
        faults = [f"training.{fault}" for fault in self._faults()]
        if faults:
            raise ValueError("\n".join(faults))

    def _faults(self) -> Iterator[str]:
        for name, value in ((field.name, getattr(self, field.name)) for field in fields(self)):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if number and name not in FROM_ZERO and not value > 0:
                yield f"{name}: {value} is not above 0"
        if self.sample_generations < 0:
            yield f"sample_generations: {self.sample_generations} is below 0, which is for none"
        if not 0 <= self.frozen_weight <= 1:
            yield f"frozen_weight: {self.frozen_weight} is not a share from 0 to 1"
        if 0 < self.loss_spike_factor <= 1:
            yield f"loss_spike_factor: {self.loss_spike_factor} is not above 1, so that any loss would be a spike"
        if self.early_stopping_on == []:
            yield "early_stopping_on: [] names no task; give mean, all, any, or names of tasks"

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

    def packs_per_step(self, data_ranks: int) -> int:
        """Packs of one global batch, which is cut into so many shares."""
        return data_ranks * self.per_device_train_batch_size * self.gradient_accumulation_steps
