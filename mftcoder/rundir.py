"""The directory of a run: its name, and what is written into it before the run starts."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mftcoder import secrets, status
from mftcoder.core.errors import UserError
from mftcoder.core.manifest import write_text
from mftcoder.environment import describe

if TYPE_CHECKING:
    from omegaconf import ListConfig

CONFIG, HYDRA = "config.yaml", ".hydra"


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
    """Remove a directory that Hydra made for a run that could not begin."""
    if {path.name for path in run_dir.iterdir()} <= {HYDRA}:
        shutil.rmtree(run_dir)


def begin(run_dir: Path, tree: Mapping[str, Any]) -> None:
    """Write what is about to run, and where, and that it is running; no secret stays in any file."""
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
