"""Tokenised tasks on disk, memory-mapped, split into training, validation and test."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mftcoder.core.batch import Sample

Counts = dict[str, int]

TABLE = pa.schema(
    {
        "ids": pa.list_(pa.int32()),
        "supervised": pa.list_(pa.bool_()),
        "targets": pa.int32(),
        "split": pa.int8(),
        "key": pa.uint64(),
    }
)


class Table:
    """The tokenised dialogues of one task, on disk: opening one reads their lengths and no tokens.

    lengths, targets: [n] int32, tokens and supervised tokens of each row. split: [n] int8, 0 train, 1 valid, 2 test,
    -1 where the source does not say. key: [n] uint64, a hash of the content of the dialogue that a row came from.
    """

    def __init__(self, path: Path) -> None:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        self._ids = [chunk for chunk in table["ids"].chunks if len(chunk)]
        self._supervised = [chunk for chunk in table["supervised"].chunks if len(chunk)]
        self._starts = [0, *np.cumsum([len(chunk) for chunk in self._ids]).tolist()]
        offsets = [chunk.offsets.to_numpy() for chunk in self._ids]
        self.lengths: NDArray[np.int32] = np.concatenate([np.diff(o) for o in offsets] or [np.zeros(0, np.int32)])
        self.targets: NDArray[np.int32] = table["targets"].to_numpy()
        self.split: NDArray[np.int8] = table["split"].to_numpy()
        self.key: NDArray[np.uint64] = table["key"].to_numpy()

    def row(self, row: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """ids [n] and supervised [n] of one dialogue; the ids are a view into the file."""
        chunk = bisect_right(self._starts, row) - 1
        at = row - self._starts[chunk]
        ids, supervised = self._ids[chunk], self._supervised[chunk]
        start, end = ids.offsets[at].as_py(), ids.offsets[at + 1].as_py()
        mask = supervised.values.slice(start, end - start).to_numpy(zero_copy_only=False)
        return ids.values.slice(start, end - start).to_numpy(), mask


class Split:
    """Rows of the tables of all tasks: `rows[t]` int64 of `tables[t]`. Tasks are numbered in the corpus's order."""

    def __init__(self, tables: Sequence[Table], rows: Sequence[NDArray[np.int64]]) -> None:
        self._tables = list(tables)
        self._rows = list(rows)
        self._lengths = [table.lengths[chosen] for table, chosen in zip(tables, rows, strict=True)]
        self._supervised = [table.targets[chosen] for table, chosen in zip(tables, rows, strict=True)]

    @property
    def num_tasks(self) -> int:
        """Tasks of the corpus, also those without a sample in this split."""
        return len(self._tables)

    def num_samples(self, task: int) -> int:
        """Samples of one task."""
        return len(self._rows[task])

    def lengths(self, task: int) -> NDArray[np.int32]:
        """[n] tokens of each sample."""
        return self._lengths[task]

    def supervised(self, task: int) -> NDArray[np.int32]:
        """[n] targets of each sample."""
        return self._supervised[task]

    def sample(self, task: int, index: int) -> Sample:
        """One sample, read from disk."""
        ids, supervised = self._tables[task].row(int(self._rows[task][index]))
        return Sample(ids, supervised, task, index)


@dataclass(frozen=True)
class Corpus:
    """tasks: names in the order of their ids. weights: of their losses. report: what became of their records."""

    tasks: list[str]
    weights: list[float]
    train: Split
    valid: Split
    test: Split
    report: dict[str, Counts]
