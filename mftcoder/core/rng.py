"""The random generators of all ranks, as one part of the state."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

import numpy as np
import torch
from pydantic import Field

Seed: TypeAlias = Annotated[int, Field(ge=0, lt=2**63)]  # what every generator takes


def seed_all(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's generators, those of all devices too."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


class Generators:
    """Saves the generators of every rank and gives each its own back.

    rank: this process. gather: a value of every rank, in the order of the ranks, on rank 0 (empty elsewhere).
    A run that goes on with more ranks than it was saved with leaves the new ones as they were seeded.
    """

    def __init__(self, *, rank: int, gather: Callable[[Any], list[Any]]) -> None:
        self.rank = rank
        self.gather = gather

    def state_dict(self) -> dict[str, Any]:
        """The generators of all ranks; every rank must call it."""
        return {"ranks": self.gather(_capture())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue this rank's generators."""
        if self.rank < len(state["ranks"]):
            _restore(state["ranks"][self.rank])


def _capture() -> dict[str, Any]:
    name, key, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(key).astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],  # type: ignore[no-untyped-call]
    }


def _restore(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    name, key, *rest = state["numpy"]
    np.random.set_state((name, key.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])
