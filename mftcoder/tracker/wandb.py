"""Metrics as a Weights & Biases run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mftcoder.core.errors import UserError
from mftcoder.tracker.base import Metrics, Tracker


class WandB(Tracker):
    """One W&B run a run directory: a resumed run goes on in it.

    Of steps that are repeated W&B keeps what it has; they are equal, unless the run went back on purpose.
    mode: online, sent as it comes; offline, kept in <run_dir>/wandb for `wandb sync`; disabled, nothing.
    """

    optional = True

    def __init__(
        self,
        *,
        project: str,
        entity: str | None,
        group: str | None,
        tags: list[str],
        mode: Literal["online", "offline", "disabled"],
    ) -> None:
        self.project = project
        self.entity = entity
        self.group = group
        self.tags = tags
        self.mode = mode
        self._run: Any = None

    def start(self, *, run_dir: Path, name: str, config: Mapping[str, Any], tasks: list[str], total_steps: int) -> None:
        """Open the run whose id is a digest of the run directory."""
        try:
            import wandb
        except ImportError as error:
            raise UserError(f"tracker=wandb: {error}; pip install 'mftcoder[trackers]'") from error
        self._run = wandb.init(
            project=self.project,
            entity=self.entity,
            group=self.group,
            tags=self.tags,
            mode=self.mode,
            dir=str(run_dir),
            id=hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:16],
            resume="allow" if self.mode == "online" else None,
            name=f"{name}/{run_dir.name}",
            config=dict(config),
            settings=wandb.Settings(console="off"),
        )

    def log(self, metrics: Metrics) -> None:
        """All values of one step."""
        values = {name: value for name, value in metrics.items() if name != "step"}
        self._run.log(values, step=int(metrics["step"]))

    def finish(self) -> None:
        """Wait until all is sent or stored: W&B's own process writes on for a moment after a run is finished."""
        import wandb

        self._run.finish()
        wandb.teardown()
