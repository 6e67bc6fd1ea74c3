"""Where the records of one task stand, and in which split each belongs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from mftcoder.data.records.faults import Fault
from mftcoder.data.records.files import files
from mftcoder.data.records.formats import Format
from mftcoder.data.records.reader import MAX_RECORD_BYTES, Row, read

SPLITS = ("train", "valid", "test")
BLOCK = 1 << 22  # bytes read at a time
UNDECIDED = -1

# `training_notes.jsonl` is no split, and of a file that is a task of its own, `test_words.jsonl` is none either.
IN_DIRECTORY = re.compile(r"(train|valid|test|validation)([-_.]|$)")
BY_ITSELF = re.compile(r"(train|valid|test|validation)(-\d[\w-]*)?\.")

Record = tuple[int, str, dict[str, Any]]  # split, origin, content


@dataclass(frozen=True)
class Source:
    """The records of one task.

    A file named train, valid (or validation) or test, alone or before one of `-_.`, belongs to that split; one that
    `paths` names itself only if it is called nothing else. The others are to be split.

    Args:
        paths: files, directories, patterns or data sets of the hub, see `mftcoder.data.records.files`.
        format: of the records, see `mftcoder.data.records.formats`; None finds it.
        columns: {name in the format: name in the records}.
        max_record_bytes: longest record of a JSON file.
    """

    paths: tuple[str, ...]
    format: Format | None
    columns: Mapping[str, str]
    max_record_bytes: int = MAX_RECORD_BYTES

    def __str__(self) -> str:
        """The first of its files, for messages."""
        more = [f"and {len(self.files) - 3} more"] if len(self.files) > 3 else []
        return ", ".join([*map(str, self.files[:3]), *more])

    @cached_property
    def files(self) -> list[Path]:
        """All files, in the order of the paths, and of their names within each."""
        return [file for path in self.paths for file in files(path)]

    @cached_property
    def _named(self) -> set[Path]:
        return {Path(path).expanduser() for path in self.paths}

    def split_of(self, file: Path) -> int:
        """The split that the name of `file` says, as an index into SPLITS, or UNDECIDED."""
        said = (BY_ITSELF if file in self._named else IN_DIRECTORY).match(file.name)
        return UNDECIDED if said is None else SPLITS.index(said[1].removesuffix("ation"))

    def records(self, limit: int | None, faults: list[Fault]) -> Iterator[Record]:
        """All records; or `limit` for each split, and where no split is said so many in all as give every split some.

        What is no record goes to `faults`.
        """
        for split in (UNDECIDED, *range(len(SPLITS))):
            chosen = [file for file in self.files if self.split_of(file) == split]
            rows = ((split, origin, record) for file in chosen for origin, record in self._read(file, faults))
            yield from islice(rows, limit and limit * (len(SPLITS) if split == UNDECIDED else 1))

    def _read(self, file: Path, faults: list[Fault]) -> Iterator[Row]:
        return read(file, faults, columns=self.columns.values(), max_record_bytes=self.max_record_bytes)

    def lines(self) -> int | None:
        """How many lines there are, where each is a record; None where that is not known."""
        if not all(file.suffix == ".jsonl" for file in self.files):
            return None
        return sum(block.count(b"\n") for file in self.files for block in blocks(file))


def blocks(file: Path) -> Iterator[bytes]:
    """The bytes of a file, a few at a time."""
    with file.open("rb") as opened:
        while block := opened.read(BLOCK):
            yield block
