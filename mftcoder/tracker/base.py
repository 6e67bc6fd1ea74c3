"""The contract of all trackers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Metrics = Mapping[str, float]


class Tracker(ABC):
    """Receives the metrics of one run, on rank 0 only.

    The calls come in this order: start, resume where the run continues, any number of doing, log and resume, finish.
    optional: an error of it is warned of once and the run goes on without it, as suits a service that may be away;
    UserErrors are the exception. An error of any other tracker ends the run.
    """

    optional: bool = False

    @abstractmethod
    def start(self, *, run_dir: Path, name: str, config: Mapping[str, Any], tasks: list[str], total_steps: int) -> None:
        """Open whatever the metrics go to."""

    @abstractmethod
    def log(self, metrics: Metrics) -> None:
        """Take the metrics of one step (`step` among them); see training/monitoring/metrics.py for the names."""

    def doing(self, what: str) -> None:
        """What takes the time from now until the next log, where that is no step, for people who watch."""

    def resume(self, step: int) -> None:
        """The run continues after `step`: forget anything later. Called before the first log, or where it goes back."""

    @abstractmethod
    def finish(self) -> None:
        """Flush and close; called exactly once after start, also after an error."""
