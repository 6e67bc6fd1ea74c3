"""Which checkpoint a run goes on from, and whether it may."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from mftcoder.core.errors import UserError
from mftcoder.storage import status
from mftcoder.storage.upgrade import upgraded
from mftcoder.system import manifest

log = logging.getLogger(__name__)

STEPS = "checkpoints"
STEP = "step_"
# What may differ without a word: it changes only where or how a run happens, or what is done where it went wrong. How a
# global batch is divided is free too, since its size is compared by itself; of the engine, only the precision is not.
FREE = (
    *("resume", "resume_force", "checkpoint", "engine", "tracker", "hydra", "training.log_interval"),
    *(
        "_target_",
        "training._target_",
    ),  # where the code of the verb and of its settings lies; other targets are choices
    *("training.per_device_train_batch_size", "training.gradient_accumulation_steps", "training.torch_compile"),
    *("training.non_finite", "training.anomaly_limit"),
    *(f"training.loss_spike{name}" for name in ("", "_factor", "_window")),
)
WORDS = ("auto", "latest", "best")
COMPARED = ("engine.mixed_precision",)


def find(resume: str, run_dir: Path) -> Path | None:
    """The step directory that `resume` means for a run in `run_dir`, or None to begin anew.

    Raises UserError where one is demanded and none is found whole.
    """
    if resume == "none":
        return None
    if resume in WORDS:
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


def pointed(pointer: Path) -> str:
    """What a pointer (latest, best, best-<task>) names: a step beside it, or the path of one.

    Raises:
        UserError: it is damaged.
    """
    try:
        text = pointer.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise UserError(f"{pointer}: names no step: {error}; remove it, or name a step") from error
    if not text or len(text) > 4000 or not text.isprintable():
        raise UserError(f"{pointer}: names no step: {text!r:.60}; remove it, or name a step")
    return text


def saved(run: Path) -> str | None:
    """The name of the newest step of a run, as `latest` says; None where there is none."""
    try:
        return pointed(run / STEPS / "latest")
    except UserError:
        return None


def steps(run: Path) -> list[Path]:
    """The step directories of a run, oldest first; what else lies beside them is nobody's business."""
    found = [path for path in (run / STEPS).glob(f"{STEP}*") if re.fullmatch(rf"{STEP}[0-9]{{1,15}}", path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix(STEP)))


def prepare(resume: str, run_dir: Path) -> None:
    """What can be seen to before a run begins: where it is to go on from, or that it is alone in its directory.

    Raises UserError for a place that is none, and as begin_anew does.
    """
    if resume == "none":
        begin_anew(run_dir)
    elif resume not in WORDS and not Path(resume).exists():
        raise UserError(f"resume={resume}: no such run or step; give the path of one, or none, {', '.join(WORDS)}")


def begin_anew(run_dir: Path) -> None:
    """See that the steps of an earlier run in the same directory are not taken for those of one that begins there.

    Jobs of a sweep have the directory that the sweep gives them, so the steps go aside, into checkpoints.1 and so on;
    raises UserError for other runs, before anything of the earlier one is lost.
    """
    if not steps(run_dir):
        return
    if not _is_job(run_dir):
        raise UserError(
            f"hydra.run.dir={run_dir}: a run has left its steps there; resume=auto goes on from them, "
            "and in another directory a run begins anew"
        )
    numbered = (run_dir / f"{STEPS}.{number}" for number in count(1))
    aside = (run_dir / STEPS).rename(next(path for path in numbered if not path.exists()))
    log.warning("%s begins anew; the steps that it had are in %s", run_dir, aside.name)


def _is_job(run_dir: Path) -> bool:
    """Whether a run is one of a sweep, of which Hydra has noted the settings beside it."""
    return (run_dir.parent / "multirun.yaml").is_file()


def differences(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """The configuration keys in which two runs differ, with both values, those that change no result left out."""
    old, new = dict(_flat(upgraded(saved))), dict(_flat(current))
    absent = "(absent)"
    return [
        f"{key}: {old.get(key, absent)!r} there, {new.get(key, absent)!r} here"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, absent) != new.get(key, absent) and not _is_free(key)
    ]


def other_batch(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Where the packs of a global batch are not as many, a line that says how to have as many.

    saved, current: the facts of two runs, see Checkpoints.open. Nothing where the saved ones do not say.
    """
    before, now = (facts.get("packs_per_step") for facts in (saved, current))
    if before is None or now is None or before == now:
        return []
    micro = now // current["gradient_accumulation_steps"]
    steps, rest = divmod(before, micro)
    remedy = f"no gradient_accumulation_steps keeps it, as these processes take {micro} packs at a time"
    if not rest:
        remedy = f"training.gradient_accumulation_steps={steps} keeps it"
    return [f"packs of a global batch: {before} there, {now} here; {remedy}"]


def other_data(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """A line for each task whose tokens are not the same, from the facts of two runs as above."""
    old, new = (facts.get("data") or {} for facts in (saved, current))
    if not old or not new:
        return []
    changed = {True: "not the same data as there", False: "not in both"}
    return [
        f"task {task}: {changed[task in old and task in new]}"
        for task in sorted(old.keys() | new.keys())
        if old.get(task) != new.get(task)
    ]


def _is_free(key: str) -> bool:
    return key not in COMPARED and any(f"{key}.".startswith(f"{free}.") for free in FREE)


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
            yield _at(run / STEPS / pointed(pointer))
    elif (step := newest(run)) is not None:
        yield step


def _runs(run_dir: Path, resume: str) -> Iterator[Path]:
    """The run itself, which a scheduler may have started again, then the runs beside it, the last saved first.

    The runs beside are looked at only where the run itself has nothing. Those beside a job of a sweep are other jobs,
    and are never resumed; with auto, nor is a finished run.
    """
    yield run_dir
    if _is_job(run_dir):
        return
    beside = [latest.parent.parent for latest in run_dir.parent.glob(f"*/{STEPS}/latest")]
    others = [run for run in beside if run != run_dir and not (resume == "auto" and _finished(run))]
    yield from sorted(others, key=lambda run: (run / STEPS / "latest").stat().st_mtime_ns, reverse=True)


def _finished(run: Path) -> bool:
    found = status.read(run)
    return found is not None and found.state == "completed"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
