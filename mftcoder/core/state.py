"""All that a run needs to go on, saved and restored as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


class Stateful(Protocol):
    """Anything with a state of nested dicts, lists and tuples of tensors, numbers, strings, booleans and None.

    Every rank calls both methods, so that they may be collective; what rank 0 returns is saved.
    """

    def state_dict(self) -> dict[str, Any]:
        """The state, complete enough to continue to the bit."""

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Continue from `state`."""


class Weights(Protocol):
    """The trainable weights, in a layout that other tools load (Hugging Face or PEFT)."""

    def snapshot(self) -> Callable[[Path], None]:
        """Copy them now; the returned function writes the copies, safetensors with their config, into a directory.

        Every rank must call it, rank 0 calls what it returns, perhaps later and in another thread.
        """

    def load(self, directory: Path) -> None:
        """Read back what was written; every rank must call it."""


@dataclass
class Progress:
    """How far the run is, and what was best: the part of the state that is plain numbers.

    step: finished optimizer steps. tokens: tokens seen, by task, over all ranks.
    best_loss: lowest valid/loss. best_step: its step. best_task_losses: lowest validation loss of each task.
    best_task_steps: their steps. first_task_losses: those at step 0.
    stalls: evaluations in a row without a new best.
    """

    step: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    best_loss: float | None = None
    best_step: int | None = None
    best_task_losses: dict[str, float] = field(default_factory=dict)
    best_task_steps: dict[str, int] = field(default_factory=dict)
    first_task_losses: dict[str, float] = field(default_factory=dict)
    stalls: int = 0

    def state_dict(self) -> dict[str, Any]:
        """Every field by its name."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over every field."""
        vars(self).update(state)


@dataclass
class State:
    """Weights, progress, and the other parts by name: optimizer, balancer, sampler, rng."""

    weights: Weights
    progress: Progress
    parts: dict[str, Stateful]
