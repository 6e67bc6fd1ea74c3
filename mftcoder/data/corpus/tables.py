"""Tokenised tasks on disk, memory-mapped, and divided into training, validation and test."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mftcoder.core.batch import Sample
from mftcoder.data.corpus.cache import digests

TABLE = "table.arrow"
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
    """The tokenised examples of one task, on disk: opening one reads nothing but where its batches are.

    Args:
        directory: of the cache, where its Arrow file is.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._table = pa.ipc.open_file(pa.memory_map(str(directory / TABLE))).read_all()
        ids = [chunk for chunk in self._table["ids"].chunks if len(chunk)]
        self._ids = [chunk.values.to_numpy() for chunk in ids]
        self._offsets = [chunk.offsets.to_numpy() for chunk in ids]
        self._supervised = [chunk.values for chunk in self._table["supervised"].chunks if len(chunk)]
        self._starts = np.cumsum([0, *map(len, ids)]).tolist()

    @cached_property
    def digest(self) -> str:
        """The digest of the file, as the cache noted it: of all tokens, masks and splits of the task."""
        return digests(self._directory)[TABLE]

    @property
    def lengths(self) -> NDArray[np.int32]:
        """[n], tokens of each row."""
        return np.concatenate([np.zeros(0, np.int32), *map(np.diff, self._offsets)])

    @property
    def targets(self) -> NDArray[np.int32]:
        """[n], supervised tokens of each row."""
        return self._column("targets")

    @property
    def split(self) -> NDArray[np.int8]:
        """[n], 0 train, 1 valid, 2 test, -1 where the source does not say."""
        return self._column("split")

    @property
    def key(self) -> NDArray[np.uint64]:
        """[n], hash of the content of the example that a row came from."""
        return self._column("key")

    def _column(self, name: str) -> NDArray[Any]:
        column: NDArray[Any] = self._table[name].to_numpy()
        return column

    def row(self, row: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """One example of n tokens: ids [n], a view into the file, and the loss mask [n]."""
        chunk = bisect_right(self._starts, row) - 1
        start, end = self._offsets[chunk][row - self._starts[chunk] :][:2].tolist()
        mask = self._supervised[chunk].slice(start, end - start)
        return self._ids[chunk][start:end], mask.to_numpy(zero_copy_only=False)


class Split:
    """The samples of all tasks for one purpose; their numbers and lengths are in memory, 8 bytes a sample.

    Args:
        tasks: T names.
        tables: [T], the examples of each task.
        rows: [T], rows int32 [n] of each table that belong to the split.
        cache_dir: where what is computed from them may be kept.
    """

    def __init__(
        self, tasks: Sequence[str], tables: Sequence[Table], rows: Sequence[NDArray[np.int32]], cache_dir: Path
    ) -> None:
        self.tasks = list(tasks)
        self.cache_dir = cache_dir
        self._tables = list(tables)
        self._rows = list(rows)
        self._lengths = [table.lengths[chosen] for table, chosen in zip(tables, rows, strict=True)]

    @property
    def num_tasks(self) -> int:
        """Tasks of the corpus, also those without a sample in this split."""
        return len(self.tasks)

    def num_samples(self, task: int) -> int:
        """Samples of one task."""
        return len(self._lengths[task])

    def lengths(self, task: int) -> NDArray[np.int32]:
        """[n], tokens of each sample."""
        return self._lengths[task]

    def supervised(self, task: int) -> NDArray[np.int32]:
        """[n], supervised tokens of each sample."""
        return self._tables[task].targets[self._rows[task]]

    def keys(self, task: int) -> NDArray[np.uint64]:
        """[n], hash of the content of the example that each sample came from."""
        return self._tables[task].key[self._rows[task]]

    def num_tokens(self, task: int) -> int:
        """Tokens of one task."""
        return int(self.lengths(task).sum(dtype=np.int64))

    def num_targets(self, task: int) -> int:
        """Supervised tokens of one task."""
        return int(self.supervised(task).sum(dtype=np.int64))

    def digests(self) -> dict[str, str]:
        """The digest of the whole table of each task, by name."""
        return {name: table.digest for name, table in zip(self.tasks, self._tables, strict=True)}

    def sample(self, task: int, index: int) -> Sample:
        """One sample, read from disk."""
        ids, supervised = self._tables[task].row(int(self._rows[task][index]))
        return Sample(ids, supervised, task, index)


@dataclass(frozen=True)
class Corpus:
    """All tasks of a run as tokens.

    Args:
        tasks: T names, in the order of their ids.
        weights: [T], of their losses.
        train: what is learnt.
        valid: what is held out for validation.
        test: what is held out for the end.
        report: by task, how many records were read, used, cut, split, dropped, empty (nothing to learn) and malformed;
            and quarantine, the file that lists the malformed.
    """

    tasks: list[str]
    weights: list[float]
    train: Split
    valid: Split
    test: Split
    report: Mapping[str, Mapping[str, Any]]

    def digests(self) -> dict[str, str]:
        """The digest of each task's tokens, by which changed data are noticed on resuming."""
        return self.train.digests()
