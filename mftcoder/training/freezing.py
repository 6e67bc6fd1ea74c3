"""The tasks' own weights, and those of them that are held at a floor since they no longer improve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mftcoder.core.progress import Progress
from mftcoder.training.settings import StoppingSettings


@dataclass(frozen=True, kw_only=True)
class Freezing:
    """Cuts down the weight of each task that has not improved for long, for good.

    Args:
        tasks: names by id.
        weights: by id, of the tasks' losses.
        settings: after how many validations a task is frozen, and what it keeps.
        progress: of the run; it remembers which are frozen.
    """

    tasks: Sequence[str]
    weights: Sequence[float]
    settings: StoppingSettings
    progress: Progress

    def priors(self) -> Tensor:
        """[T] float64, the weights that hold now."""
        kept = [self.settings.frozen_weight if task in self.progress.frozen else 1.0 for task in self.tasks]
        return torch.tensor(self.weights, dtype=torch.float64) * torch.tensor(kept, dtype=torch.float64)

    def freeze(self) -> list[str]:
        """Freeze the tasks of which the last validation says so; their names."""
        progress, limit = self.progress, self.settings.freeze_stall_num
        new = [t for t in progress.tasks if t not in progress.frozen and limit and progress.stalls(t) >= limit]
        progress.frozen += new
        return new
