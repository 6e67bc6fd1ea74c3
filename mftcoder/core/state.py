"""All that a run needs to go on, saved and restored as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mftcoder.core.progress import Progress


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
class State:
    """Weights, progress, and the other parts by name: optimizer, balancer, sampler, rng."""

    weights: Weights
    progress: Progress
    parts: dict[str, Stateful]
