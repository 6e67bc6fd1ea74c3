"""Metrics as TensorBoard scalars."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mftcoder.core.errors import UserError
from mftcoder.tracker.base import Metrics, Tracker

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


class TensorBoard(Tracker):
    """Writes event files below `tb_dir`, or into <run_dir>/tensorboard where that is None.

    On resume TensorBoard is told to hide the steps that are about to be repeated.
    """

    optional = True

    def __init__(self, *, tb_dir: str | None, flush_secs: int) -> None:
        self.tb_dir = tb_dir
        self.flush_secs = flush_secs
        self._directory = Path()
        self._purge_step: int | None = None
        self._writer: SummaryWriter | None = None

    def start(self, *, run_dir: Path, name: str, config: Mapping[str, Any], tasks: list[str], total_steps: int) -> None:
        """Choose the directory, and see that TensorBoard is there."""
        self._directory = Path(self.tb_dir) / name / run_dir.name if self.tb_dir else run_dir / "tensorboard"
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError as error:
            raise UserError(f"tracker=tensorboard: {error}; pip install 'mftcoder[trackers]'") from error

    def resume(self, step: int) -> None:
        """Hide what was written after `step`."""
        self.finish()
        self._purge_step = step + 1

    def log(self, metrics: Metrics) -> None:
        """One scalar a name."""
        if self._writer is None:
            from torch.utils.tensorboard.writer import SummaryWriter

            self._writer = SummaryWriter(str(self._directory), purge_step=self._purge_step, flush_secs=self.flush_secs)
        step = int(metrics["step"])
        for name, value in metrics.items():
            if name != "step":
                self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
