"""Where the records of one task stand, and in which split each belongs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mftcoder.core.errors import UserError
from mftcoder.data.faults import Fault
from mftcoder.data.reader import read
from mftcoder.data.shapes import Format

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class Source:
    """The files of one task.

    path: a file, or a directory whose files are all read. format, columns: of their records, see record.parse.
    A file whose name begins with train, valid or test belongs to that split; the others are to be split.
    """

    path: Path
    format: Format | None
    columns: Mapping[str, str]

    def files(self) -> list[Path]:
        """The files in the order of their names."""
        if self.path.is_file():
            return [self.path]
        found = sorted(p for p in self.path.rglob("*.jsonl") if p.is_file())
        if not found:
            raise UserError(f"{self.path}: no .jsonl file in it; expected a file of records, or a directory of them")
        return found

    def split_of(self, file: Path) -> int:
        """The split that the name of `file` says: 0 train, 1 valid, 2 test, or -1."""
        return next((i for i, split in enumerate(SPLITS) if file.name.startswith(split)), -1)

    def records(self, limit: int | None, faults: list[Fault]) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Split, origin and content of each record; at most `limit` a split (times three where it is not said)."""
        for split in (-1, 0, 1, 2):
            files = [file for file in self.files() if self.split_of(file) == split]
            rows = ((split, *pair) for file in files for pair in read(file, faults))
            yield from islice(rows, limit if limit is None or split >= 0 else limit * len(SPLITS))
