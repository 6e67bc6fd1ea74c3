"""Tokenised tasks on disk, memory-mapped, split into training, validation and test."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mftcoder.core.batch import Sample

SCHEMA = pa.schema(
    {
        "ids": pa.list_(pa.int32()),
        "supervised": pa.list_(pa.bool_()),
        "targets": pa.int32(),
        "split": pa.int8(),
        "key": pa.uint64(),
    }
)


class Table:
    """The tokenised examples of one task, on disk: opening one reads their lengths and no tokens.

    path: its Arrow file. lengths, targets: [n] int32, tokens and supervised tokens of each row. split: [n] int8, 0
    train, 1 valid, 2 test, -1 where the source does not say. key: [n] uint64, a hash of the content of the example
    that a row came from.
    """

    def __init__(self, path: Path) -> None:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        self.path = path
        self._ids = [chunk for chunk in table["ids"].chunks if len(chunk)]
        self._supervised = [chunk for chunk in table["supervised"].chunks if len(chunk)]
        self._starts = np.cumsum([0, *(len(chunk) for chunk in self._ids)]).tolist()
        lengths = [np.diff(chunk.offsets.to_numpy()) for chunk in self._ids]
        self.lengths: NDArray[np.int32] = np.concatenate([np.zeros(0, np.int32), *lengths])
        self.targets: NDArray[np.int32] = table["targets"].to_numpy()
        self.split: NDArray[np.int8] = table["split"].to_numpy()
        self.key: NDArray[np.uint64] = table["key"].to_numpy()

    def row(self, row: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """ids [n], a view into the file, and supervised [n] of one example."""
        chunk = bisect_right(self._starts, row) - 1
        at = row - self._starts[chunk]
        ids, supervised = self._ids[chunk], self._supervised[chunk]
        start, end = ids.offsets[at].as_py(), ids.offsets[at + 1].as_py()
        mask = supervised.values.slice(start, end - start).to_numpy(zero_copy_only=False)
        return ids.values.slice(start, end - start).to_numpy(), mask


class Split:
    """The samples of all tasks: rows `rows[t]` int64 of `tables[t]` for the task `tasks[t]`.

    cache_dir: where may be kept what is worked out from them.
    """

    def __init__(
        self, tasks: Sequence[str], tables: Sequence[Table], rows: Sequence[NDArray[np.int64]], cache_dir: Path
    ) -> None:
        self.tasks = list(tasks)
        self.cache_dir = cache_dir
        self._tables = list(tables)
        self._rows = list(rows)
        self._lengths = [table.lengths[chosen] for table, chosen in zip(tables, rows, strict=True)]
        self._supervised = [table.targets[chosen] for table, chosen in zip(tables, rows, strict=True)]

    @property
    def num_tasks(self) -> int:
        """Tasks of the corpus, also those without a sample in this split."""
        return len(self.tasks)

    def num_samples(self, task: int) -> int:
        """Samples of one task."""
        return len(self._lengths[task])

    def lengths(self, task: int) -> NDArray[np.int32]:
        """[n] tokens of each sample."""
        return self._lengths[task]

    def supervised(self, task: int) -> NDArray[np.int32]:
        """[n] targets of each sample."""
        return self._supervised[task]

    def num_tokens(self, task: int) -> int:
        """Tokens of one task."""
        return int(self.lengths(task).sum(dtype=np.int64))

    def num_targets(self, task: int) -> int:
        """Targets of one task."""
        return int(self.supervised(task).sum(dtype=np.int64))

    def sample(self, task: int, index: int) -> Sample:
        """One sample, read from disk."""
        ids, supervised = self._tables[task].row(int(self._rows[task][index]))
        return Sample(ids, supervised, task, index)


@dataclass(frozen=True)
class Corpus:
    """tasks: names in the order of their ids. weights: of their losses.

    report: by task, how many records were read, used, cut, split, dropped, empty (nothing to learn), malformed; and
    quarantine, the file that lists the malformed.
    """

    tasks: list[str]
    weights: list[float]
    train: Split
    valid: Split
    test: Split
    report: Mapping[str, Mapping[str, Any]]
