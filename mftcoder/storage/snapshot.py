"""A copy of the state at one step, and how it becomes a directory that is whole or not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from mftcoder.core.errors import DiskFullError, UserError
from mftcoder.storage import resumption, serialize
from mftcoder.system import environment, files, manifest

CONFIG = "run.json"
MARGIN = 1 << 20  # bytes that must be free beside those of the state, at the least


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that a checkpoint of `step` will hold; training may go on meanwhile.

    pointers: the step that each pointer (best, …) is to name. kept: steps that are worth keeping beside this one.
    facts: of the run, for its manifest.
    """

    step: int
    pointers: Mapping[str, int]
    kept: set[int]
    write_weights: Callable[[Path], None]
    parts: Mapping[str, serialize.Encoded]
    metrics: Mapping[str, float]
    config: Mapping[str, Any]
    facts: Mapping[str, Any]

    @property
    def name(self) -> str:
        """That of its directory."""
        return name_of(self.step)

    def write(self, directory: Path) -> Path:
        """Write it below `directory`; nobody sees it before it is whole.

        Args:
            directory: that of all steps of the run.

        Returns:
            Its own directory.

        Raises:
            UserError: writing fails; nothing is left of it then, and what was there is as it was.
            DiskFullError: for want of space.
        """
        try:
            with files.staged(directory / self.name) as staged:
                self._write_files(staged)
        except (OSError, SafetensorError) as error:
            full = getattr(error, "errno", None) in (ENOSPC, EDQUOT) or "os error 28" in str(error)
            raise (DiskFullError if full else UserError)(
                f"{directory / self.name} could not be saved: {error}; the earlier checkpoints are as they were"
            ) from error
        return directory / self.name

    def _write_files(self, staged: Path) -> None:
        needed = sum(part.num_bytes for part in self.parts.values())
        if (free := shutil.disk_usage(staged.parent).free) < needed + MARGIN:
            raise OSError(ENOSPC, f"{needed / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free")
        staged.mkdir()
        self.write_weights(staged)
        for name, part in self.parts.items():
            serialize.write(staged, name, part)
        (staged / CONFIG).write_text(json.dumps(self.config, indent=1), encoding="utf-8")
        manifest.seal(staged, step=self.step, metrics=dict(self.metrics), versions=environment.versions(), **self.facts)

    def settle(self, directory: Path, *, saving_limit: int | None) -> None:
        """Set the pointers, and delete the oldest steps beyond the limit, but none that is worth keeping."""
        files.write_text(directory / "latest", self.name)
        for pointer in {"best", *self.pointers}:
            self._point(directory / pointer, self.pointers.get(pointer))
        if saving_limit is None:
            return
        kept = {name_of(step) for step in (self.step, *self.kept)}
        others = [path for path in resumption.steps(directory.parent) if path.name not in kept]
        room = max(saving_limit - len(kept), 0)
        for oldest in others[: len(others) - room]:
            manifest.remove(oldest)

    def _point(self, pointer: Path, step: int | None) -> None:
        """Let a pointer name its step where that is kept, and take it away where it would name another or none.

        One from an earlier run, which is the path of a step there, stays as long as it is the right step.
        """
        try:
            named = resumption.pointed(pointer) if pointer.is_file() else None
        except UserError:
            named = "damaged"
        right = name_of(step) if step is not None and step in self.kept else None
        if right is not None and named != right and (pointer.parent / right).is_dir():
            files.write_text(pointer, right)
        elif named is not None and Path(named).name != right:
            pointer.unlink()


def name_of(step: int) -> str:
    """The directory of a step."""
    return f"{resumption.STEP}{step:06d}"


def clear(directory: Path) -> None:
    """Make the directory of a run's steps, and take away what a crash left half-written.

    Raises UserError where it cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        files.clear(directory)
    except OSError as error:
        raise UserError(f"{directory} cannot be written: {error}; mend its permissions, or choose another") from error
