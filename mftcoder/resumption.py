"""Which checkpoint a run goes on from, and whether it may."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mftcoder import status
from mftcoder.core import manifest
from mftcoder.core.errors import UserError

log = logging.getLogger(__name__)

STEPS = "checkpoints"
STEP = "step_"
# What may differ without a word: it changes only where or how a run happens, or what is done where it went wrong.
FREE = (
    *("resume", "resume_force", "checkpoint", "engine", "tracker", "hydra", "training.log_interval"),
    "training.torch_compile",
    *("training.non_finite", "training.anomaly_limit"),
    *(f"training.loss_spike{name}" for name in ("", "_factor", "_window")),
)


def find(resume: str, run_dir: Path) -> Path | None:
    """The step directory that `resume` means for a run in `run_dir`, or None to begin anew.

    Raises UserError where one is demanded and none is found whole.
    """
    if resume == "none":
        return None
    if resume in ("auto", "latest", "best"):
        found = next((step for run in _runs(run_dir, resume) for step in _candidates(run, resume)), None)
        if found is None and resume != "auto":
            raise UserError(
                f"resume={resume}: no whole checkpoint in {run_dir} nor in the runs beside it; "
                "give the path of a run or of a step, or take resume=none"
            )
        return found
    return _at(Path(resume))


def newest(run: Path) -> Path | None:
    """The newest step of a run that verifies; every damaged one on the way is named in the log."""
    for step in reversed(steps(run)):
        if not (faults := manifest.faults(step)):
            return step
        log.warning("%s is damaged and left out: %s", step, "; ".join(faults))
    return None


def steps(run: Path) -> list[Path]:
    """The step directories of a run, oldest first."""
    return sorted((run / STEPS).glob(f"{STEP}*"), key=lambda path: int(path.name.removeprefix(STEP)))


def differences(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """The configuration keys in which two runs differ, with both values, those that change no result left out."""
    old, new = dict(_flat(saved)), dict(_flat(current))
    absent = "(absent)"
    return [
        f"{key}: {old.get(key, absent)!r} there, {new.get(key, absent)!r} here"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, absent) != new.get(key, absent) and not any(f"{key}.".startswith(f"{f}.") for f in FREE)
    ]


def _at(path: Path) -> Path:
    if (path / STEPS).is_dir():
        if (found := newest(path)) is None:
            raise UserError(f"resume={path}: this run has no whole checkpoint")
        return found
    if not (path / manifest.MANIFEST).is_file():
        raise UserError(
            f"resume={path}: neither a run (with {STEPS}/) nor a step (with {manifest.MANIFEST}); "
            "give such a path, or auto, latest, best or none"
        )
    if faults := manifest.faults(path):
        raise UserError(f"resume={path}: damaged, and named explicitly:\n" + "\n".join(faults))
    return path


def _candidates(run: Path, resume: str) -> Iterator[Path]:
    if resume == "best":
        pointer = run / STEPS / "best"
        if pointer.is_file():
            yield _at(run / STEPS / pointer.read_text(encoding="utf-8").strip())
    elif (step := newest(run)) is not None:
        yield step


def _runs(run_dir: Path, resume: str) -> list[Path]:
    """The run itself, which a scheduler may have started again, then the runs beside it, the last saved first.

    The runs beside a job of a sweep are other jobs, and are never gone on from; with auto, nor is a finished run.
    """
    if run_dir.parent.name.startswith("sweep-"):
        return [run_dir]
    beside = [latest.parent.parent for latest in run_dir.parent.glob(f"*/{STEPS}/latest")]
    others = [run for run in beside if run != run_dir and not (resume == "auto" and _finished(run))]
    return [run_dir, *sorted(others, key=lambda run: (run / STEPS / "latest").stat().st_mtime_ns, reverse=True)]


def _finished(run: Path) -> bool:
    found = status.read(run)
    return found is not None and found.state == "completed"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
