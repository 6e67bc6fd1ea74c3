"""Directories of records, each of them one task."""

from dataclasses import dataclass
from pathlib import Path

from mftcoder.core.errors import UserError
from mftcoder.data.mixture import Mixture
from mftcoder.data.source import Source


@dataclass(kw_only=True)
class Folders(Mixture):
    """Each path is a directory of .jsonl files, or one such file: a task named as it is.

    Files whose names begin with train, valid or test belong to that split; the others are divided by data_split.
    """

    paths: list[str]

    def sources(self, cache_dir: Path) -> dict[str, Source]:
        """One source a path."""
        if not self.paths:
            raise UserError("data.paths is empty; give the directory of each task: data.paths=[my/code,my/tests]")
        missing = [path for path in self.paths if not Path(path).exists()]
        if missing:
            raise UserError(f"data.paths: {', '.join(missing)} not found")
        names = [Path(path).name.split(".")[0] for path in self.paths]
        if len(set(names)) < len(names):
            raise UserError(f"data.paths: two tasks of one name among {', '.join(names)}; rename a directory")
        return {name: Source(Path(path), format=None, columns={}) for name, path in zip(names, self.paths, strict=True)}
