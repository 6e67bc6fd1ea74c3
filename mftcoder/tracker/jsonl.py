"""Metrics as lines of JSON in the run directory: the record that reports and sweeps read."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from mftcoder.tracker.base import Metrics, Tracker

log = logging.getLogger(__name__)


class JsonLines(Tracker):
    """Writes <run_dir>/metrics.jsonl: one object a step, numbers at full precision, null where one is not finite.

    Each line is handed to the operating system at once, so that it outlives the process; with fsync it also outlives
    the machine, for some milliseconds a step.
    """

    def __init__(self, *, fsync: bool) -> None:
        self.fsync = fsync
        self._path = Path()
        self._mode = "w"
        self._file: IO[str] | None = None

    def start(self, *, run_dir: Path, name: str, config: Mapping[str, Any], tasks: list[str], total_steps: int) -> None:
        """Only note the place: whether an older file is gone on with is known by the first log."""
        self._path = run_dir / "metrics.jsonl"
        self._mode = "w"

    def resume(self, step: int) -> None:
        """Drop the lines after `step`, and one that a crash has cut short, in one atomic exchange of the file."""
        self.finish()
        self._mode = "a"
        if not self._path.exists():
            return
        kept = self._path.with_suffix(".kept")
        with kept.open("w", encoding="utf-8") as file:
            file.writelines(_until(step, self._path))
            file.flush()
            os.fsync(file.fileno())
        kept.replace(self._path)

    def log(self, metrics: Metrics) -> None:
        """Append one line."""
        if self._file is None:
            self._file = self._path.open(self._mode, encoding="utf-8", buffering=1)
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        self._file.write(json.dumps(finite, allow_nan=False) + "\n")
        if self.fsync:
            os.fsync(self._file.fileno())

    def finish(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _until(step: int, path: Path) -> Iterator[str]:
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True), 1):
        try:
            if line.endswith("\n") and json.loads(line)["step"] <= step:
                yield line
        except (ValueError, KeyError, TypeError):
            log.warning("%s:%d: not a line of metrics, and dropped: %r", path, number, line[:80])
