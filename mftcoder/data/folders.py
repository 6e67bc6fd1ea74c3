"""Directories of records, each of them one task."""

from __future__ import annotations

from dataclasses import dataclass
from glob import has_magic
from pathlib import Path

from mftcoder.core.errors import UserError
from mftcoder.data.mixture import Mixture, Task
from mftcoder.data.records.files import KINDS
from mftcoder.data.records.source import Source


@dataclass(kw_only=True)
class Folders(Mixture):
    """Each of `paths` is a task, named as the directory or file is; so is each of `tasks` that has a path of its own.

    Files in a directory that are named train, valid or test, alone or before one of `-_.`, belong to that split; the
    others are divided by data_split.

    Args:
        paths: files, directories, patterns, or data sets of the hub, see `mftcoder.data.records.files`.
    """

    paths: list[str]

    def task_names(self) -> list[str]:
        """The names of paths, and of tasks that have their own."""
        return [name for name, _ in self._named()]

    def _named(self) -> list[tuple[str, list[str]]]:
        """The paths of each task, by its name."""
        own = [(name, task["path"]) for name, task in self.tasks.items() if task.get("path")]
        named = [(name, [path] if isinstance(path, str) else path) for name, path in own]
        return [*((name_of(path), [path]) for path in self.paths), *named]

    def sources(self, cache_dir: Path) -> dict[str, Source]:
        """One source a task."""
        named = self._named()
        if not named:
            raise UserError(
                f"data.paths is empty: {self.paths}; give the directory of each task: data.paths=[my/code,my/tests]"
            )
        names = [name for name, _ in named]
        if len(set(names)) < len(names):
            raise UserError(f"data.paths: two tasks of one name among {', '.join(names)}; rename a directory")
        return {name: source(paths, self.tasks.get(name, Task())) for name, paths in named}


def name_of(path: str) -> str:
    """The name of the task at a path: its last part that is no pattern, without the suffix of a file of records.

    Of a data set of the hub, owner/name:split, it is the name. v1.0 and v1.1 are two names.
    """
    parts = [part for part in Path(path).parts if not has_magic(part)]
    if not parts:
        return path
    name = parts[-1].partition(":")[0]
    suffix = max((kind for kind in KINDS if name.endswith(kind)), key=len, default="")
    return name.removesuffix(suffix)


def source(paths: list[str], task: Task) -> Source:
    """The records at `paths`, read as the task says."""
    return Source(tuple(paths), format=task.get("format"), columns=task.get("columns") or {})
