"""The contract of all trackers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Metrics = Mapping[str, float]


class Tracker(ABC):
    """Receives the metrics of one run, on rank 0 only."""

    @abstractmethod
    def start(self, *, run_dir: Path, name: str, config: Mapping[str, Any], tasks: list[str], total_steps: int) -> None:
        """Open whatever the metrics go to."""

    @abstractmethod
    def log(self, metrics: Metrics) -> None:
        """Take the metrics of one step (`step` among them); names as in the README's table."""

    def resume(self, step: int) -> None:
        """The run continues after `step`: forget anything later. Called before the first log."""

    @abstractmethod
    def finish(self) -> None:
        """Flush and close; called exactly once, also after an error."""
