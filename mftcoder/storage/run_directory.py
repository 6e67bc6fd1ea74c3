"""The directory of a run: its name, and what is written into it before the run starts."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mftcoder.cli import secrets
from mftcoder.core.errors import UserError
from mftcoder.core.files import write_text
from mftcoder.storage import resumption, status
from mftcoder.storage.environment import describe

if TYPE_CHECKING:
    from omegaconf import ListConfig

log = logging.getLogger(__name__)

CONFIG, HYDRA, LOCK = "config.yaml", ".hydra", ".lock"


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
    if {path.name for path in run_dir.iterdir()} <= {HYDRA, LOCK}:
        shutil.rmtree(run_dir)


def hold(run_dir: Path) -> int:
    """Keep other processes from training in a directory as long as this one lives, or until it closes what is returned.

    The lock is POSIX's, which the system takes back however a process ends, over NFS too. It belongs to the process:
    one that holds it gets it again, but gives it up with the first descriptor that it closes.
    Raises UserError where another process has it, or the directory cannot be written.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(run_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UserError(f"{run_dir} cannot be written: {error}; mend its permissions, or choose another") from error
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        holder = os.pread(descriptor, 1000, 0).decode(errors="replace")
        os.close(descriptor)
        raise UserError(
            f"hydra.run.dir={run_dir}: {holder or 'another process'} trains in it; "
            "wait until it has ended, stop it, or take another directory"
        ) from error
    except OSError as error:
        log.warning("%s: this file system has no locks (%s); start no second run in it meanwhile", run_dir, error)
    else:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    return descriptor


def begin(run_dir: Path, tree: Mapping[str, Any]) -> None:
    """Write what is about to run, and where, and that it is running; no secret stays in any file.

    Raises UserError, and writes nothing, where another process trains in the directory, where an earlier run did that
    is not gone on from, or where that which is to be gone on from does not exist.
    """
    os.close(hold(run_dir))
    if "resume" in tree:
        resumption.prepare(tree["resume"], run_dir)
    hidden = [value for _, value in secrets.find(tree)]
    write_text(run_dir / CONFIG, yaml.safe_dump(secrets.masked(tree), sort_keys=False, allow_unicode=True))
    environment = json.dumps(describe(sys.orig_argv), indent=1) + "\n"
    write_text(run_dir / "environment.json", secrets.scrub(environment, hidden))
    for file in (*(run_dir / HYDRA).glob("*.yaml"), run_dir.parent / "multirun.yaml"):
        if hidden and file.exists():
            write_text(file, secrets.scrub(file.read_text(encoding="utf-8"), hidden))
    status.update(run_dir, state="running", metric=None, reason=None, rank=None)


def read_config(run_dir: Path) -> dict[str, Any]:
    """The resolved configuration of a run, its secrets masked."""
    return dict(yaml.safe_load((run_dir / CONFIG).read_text(encoding="utf-8")))
