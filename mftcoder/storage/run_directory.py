"""The directory of a run: its name, and what is written into it before the run starts."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mftcoder.cli import secrets
from mftcoder.core.errors import UserError
from mftcoder.storage import resumption, status
from mftcoder.system.environment import describe
from mftcoder.system.files import write_text
from mftcoder.system.lock import NOTE, Lock, LockedError

if TYPE_CHECKING:
    from omegaconf import ListConfig

log = logging.getLogger(__name__)

CONFIG, HYDRA, LOCK = "config.yaml", ".hydra", ".lock"
WRITERS_LOCK = ".checkpoints.lock"
LOCKS = {f"{lock}{end}" for lock in (LOCK, WRITERS_LOCK) for end in ("", NOTE)}
PREDECESSORS = 60  # seconds that a start waits for the workers of an earlier one that are still saving


def register_resolvers() -> None:
    """Teach YAML `${new_directory:path}` and `${short_hash:${hydra.overrides.task}}`."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("new_directory", new_directory, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("short_hash", short_hash, replace=True)


def new_directory(path: str) -> str:
    """Make `path`, or where it exists `path`-2, -3, …, so that no two runs ever share one, and return which it is."""
    if ".." in Path(path).parts:
        raise UserError(f"{path}: a run directory may not lead upwards; take a name without '..'")
    candidates = (Path(path if number == 1 else f"{path}-{number}") for number in count(1))
    return next(str(candidate) for candidate in candidates if _make(candidate))


def _make(directory: Path) -> bool:
    """Whether the directory is new, and thereby ours alone."""
    try:
        directory.mkdir(parents=True)
    except FileExistsError:
        return False
    return True


def short_hash(overrides: ListConfig) -> str:
    """8 hex digits that stand for a set of overrides."""
    from omegaconf import OmegaConf

    typed: Any = OmegaConf.to_container(overrides, resolve=False)
    return hashlib.sha256("\n".join(sorted(typed)).encode()).hexdigest()[:8]


def discard(run_dir: Path) -> None:
    """Remove the directory of a run that could not begin, unless more is in it than what Hydra wrote."""
    if run_dir.is_dir() and {path.name for path in run_dir.iterdir()} <= {
        HYDRA,
        *(f"{lock}{end}" for lock in (LOCK, WRITERS_LOCK) for end in ("", NOTE)),
    }:
        shutil.rmtree(run_dir)


@contextmanager
def owned(run_dir: Path, *, patience: float = 0) -> Iterator[None]:
    """Keeps other starts from the directory of a run, from before anything is written until everything is.

    A second start writes nothing. Where an earlier one is dead but its workers are still saving, it waits for them.

    Args:
        run_dir: made where it is missing.
        patience: seconds to wait for an earlier start that is about to end, as where a scheduler has requeued a job.

    Raises:
        UserError: another process has the directory, or it cannot be written.
    """
    lock = _lock(run_dir, LOCK, patience)
    try:
        if (run_dir / WRITERS_LOCK).exists():
            _lock(run_dir, WRITERS_LOCK, PREDECESSORS).release()
        yield
    finally:
        lock.release()


def hold(run_dir: Path) -> Lock:
    """Take the lock of the one process that writes checkpoints, which may outlive the process that started the run.

    Raises:
        UserError: another process has it, or the directory cannot be written.
    """
    return _lock(run_dir, WRITERS_LOCK, 0)


def _lock(run_dir: Path, name: str, patience: float) -> Lock:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        if patience:
            with suppress(LockedError):
                return Lock(run_dir / name)
            log.warning("hydra.run.dir=%s: waiting up to %d s for the process that is ending in it", run_dir, patience)
        return Lock(run_dir / name, patience=patience)
    except OSError as error:
        raise UserError(f"{run_dir} cannot be written: {error}; mend its permissions, or choose another") from error
    except LockedError as error:
        raise UserError(
            f"hydra.run.dir={run_dir}: {error} trains in it; wait until it has ended, stop it, or "
            "take another directory"
        ) from error


def begin(run_dir: Path, tree: Mapping[str, Any], overrides: Sequence[str] = ()) -> str:
    """Write what is about to run, and where, and that it is running; no secret is in any file.

    Args:
        run_dir: owned by this process, see `owned`.
        tree: the checked configuration.
        overrides: the words of the command line.

    Returns:
        The hash of config.yaml, by which workers know that they read what was meant for them.

    Raises:
        UserError: an earlier run has left checkpoints there and `resume` is none, or `resume` names nothing. Nothing is
            written then.
    """
    if "resume" in tree:
        resumption.prepare(tree["resume"], run_dir)
    hidden, names = secrets.values(tree), tree.get(secrets.EXTRA_NAMES) or ()
    environment = describe([secrets.masked_override(word, hidden, names) for word in sys.orig_argv])
    text = yaml.safe_dump(secrets.masked(tree), sort_keys=False, allow_unicode=True)
    write_text(run_dir / CONFIG, text)
    write_text(run_dir / "environment.json", json.dumps(environment, indent=1) + "\n")
    note_overrides(run_dir, [secrets.masked_override(word, hidden, names) for word in overrides])
    status.update(run_dir, state="running", metric=None, reason=None, rank=None)
    return hashlib.sha256(text.encode()).hexdigest()


def note_overrides(run_dir: Path, masked: Sequence[str]) -> None:
    """Keep what was typed, where Hydra keeps it; Hydra itself would keep secrets too."""
    write_text(run_dir / HYDRA / "overrides.yaml", yaml.safe_dump(list(masked), allow_unicode=True))


def read_config(run_dir: Path, sha256: str | None = None) -> dict[str, Any]:
    """The resolved configuration of a run, its secrets masked.

    Args:
        run_dir: the directory of the run.
        sha256: what `begin` returned; None for whatever is there.

    Raises:
        UserError: it is not what was begun, or no configuration.
    """
    data = (run_dir / CONFIG).read_bytes()
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{run_dir / CONFIG}: was changed after the run had begun; start it again")
    try:
        return dict(yaml.safe_load(data))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{run_dir / CONFIG}: is no configuration of a run: {error}") from error
