"""What became of the records of each task, and what is odd about what was kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from xxhash import xxh3_64_intdigest

from mftcoder.core.errors import UserError
from mftcoder.data.corpus.duplicates import Duplicates, Places, exact, near
from mftcoder.data.corpus.tables import Corpus, Split
from mftcoder.data.records.source import SPLITS

Report = dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Counts, and refuses what is above a threshold; null allows anything.

    Args:
        near_duplicates: Jaccard index from which on two samples are near duplicates; null does not look for them.
        num_compared: samples of each task and split among which it looks, spread evenly.
        max_lost_fraction: of a task's records that may be dropped as too long, or have nothing to learn.
        max_duplicate_fraction: of its samples that may repeat one before.
        max_leaked_fraction: of its held-out samples that may say exactly what a training sample says.
    """

    near_duplicates: float | None
    num_compared: int
    max_lost_fraction: float | None
    max_duplicate_fraction: float | None
    max_leaked_fraction: float | None

    def report(self, corpus: Corpus) -> Report:
        """By task: the fate of its records; samples, tokens and targets of each split; histograms; duplicates."""
        splits = (corpus.train, corpus.valid, corpus.test)
        tasks = range(len(corpus.tasks))
        measured = measure(splits, len(tasks))
        duplicates = {"exact": exact([[part.keys for part in parts] for parts in measured])}
        if self.near_duplicates is not None:
            subset = Subset.of(splits, len(tasks), self.num_compared)
            duplicates["near"] = near(subset.ids(), subset.places, len(tasks), self.near_duplicates)
        return {
            name: {
                "records": dict(corpus.report[name]),
                **{kind: sizes(split, task) for kind, split in zip(SPLITS, splits, strict=True)},
                "tokens": histogram([split.lengths(task) for split in splits]),
                "answers": histogram([parts[task].answers for parts in measured]),
                "duplicates": {kind: of_task(found, task) for kind, found in duplicates.items()},
            }
            for task, name in enumerate(corpus.tasks)
        }

    def check(self, report: Report) -> None:
        """Raise UserError, with all that is above a threshold."""
        faults = [f"{name}: {fault}" for name, task in report.items() for fault in self._faults(task)]
        if faults:
            raise UserError("The audit refuses these data:\n" + "\n".join(f"  {fault}" for fault in faults))

    def _faults(self, task: Mapping[str, Any]) -> Iterator[str]:
        records, found = task["records"], task["duplicates"]["exact"]
        held_out = task["valid"]["samples"] + task["test"]["samples"]
        lost = records["dropped"] + records["empty"]
        checks = (
            ("records are lost (too long, or nothing to learn)", lost, records["read"], "max_lost_fraction"),
            (
                "samples repeat one before",
                found["within"],
                task["train"]["samples"] + held_out,
                "max_duplicate_fraction",
            ),
            ("held-out samples are in training data", found["leaked"], held_out, "max_leaked_fraction"),
        )
        for what, number, total, name in checks:
            allowed = getattr(self, name)
            if allowed is not None and number > allowed * total:
                yield f"{number} of {total} {what}; allowed: audit.{name}={allowed}"


class Measures(NamedTuple):
    """Of each sample a key [n] of its tokens, and the number [n] of its answers: runs of targets."""

    keys: NDArray[np.uint64]
    answers: NDArray[np.int32]


def measure(splits: Sequence[Split], num_tasks: int) -> list[list[Measures]]:
    """What has to be read from all samples, [split][task]; with a progress bar."""
    numbers = [[split.num_samples(task) for task in range(num_tasks)] for split in splits]
    measured = [[Measures(np.empty(n, np.uint64), np.empty(n, np.int32)) for n in row] for row in numbers]
    places = ((s, t, i) for s, row in enumerate(numbers) for t, n in enumerate(row) for i in range(n))
    for split, task, i in track(places, description="auditing", total=sum(map(sum, numbers)), transient=True):
        sample = splits[split].sample(task, i)
        keys, answers = measured[split][task]
        keys[i] = xxh3_64_intdigest(np.ascontiguousarray(sample.ids).data)
        answers[i] = np.count_nonzero(sample.supervised[1:] > sample.supervised[:-1])
    return measured


@dataclass(frozen=True, slots=True)
class Subset:
    """Some samples of every task and split.

    Args:
        splits: train, valid and test.
        places: task and split of each of the n samples.
        index: [n], of each in its task and split.
    """

    splits: Sequence[Split]
    places: Places
    index: NDArray[np.int64]

    @classmethod
    def of(cls, splits: Sequence[Split], num_tasks: int, number: int) -> Subset:
        """At most `number` of each task and split, spread evenly."""
        parts = [(split, task) for split in range(len(splits)) for task in range(num_tasks)]
        chosen = [spread(splits[split].num_samples(task), number) for split, task in parts]
        split, task = np.repeat(np.array(parts, dtype=np.int64), [len(index) for index in chosen], axis=0).T
        return cls(splits, Places(task=task, split=split), np.concatenate(chosen))

    def ids(self) -> Iterator[NDArray[np.int32]]:
        """The tokens of each, with a progress bar."""
        where = zip(self.places.split.tolist(), self.places.task.tolist(), self.index.tolist(), strict=True)
        for split, task, index in track(where, description="comparing", total=len(self.index), transient=True):
            yield self.splits[split].sample(task, index).ids


def spread(size: int, number: int) -> NDArray[np.int64]:
    """At most `number` of the first `size` whole numbers, evenly apart."""
    some = min(size, number)
    return np.arange(some, dtype=np.int64) * size // max(some, 1)


def sizes(split: Split, task: int) -> dict[str, int]:
    """Samples, tokens and targets of a task in a split."""
    lengths, targets = split.lengths(task), split.supervised(task)
    return {
        "samples": len(lengths),
        "tokens": int(lengths.sum(dtype=np.int64)),
        "targets": int(targets.sum(dtype=np.int64)),
    }


def histogram(values: Sequence[NDArray[np.int32]]) -> dict[str, Any]:
    """Quantiles of whole numbers from 0, and how many are at most 0, 1, 2, 4, 8 …, and above the power before."""
    length = max((int(some.max(initial=0)) for some in values), default=0) + 1
    counts = sum((np.bincount(some, minlength=length) for some in values), np.zeros(length, dtype=np.int64))
    ends = np.cumsum(counts)
    if not ends[-1]:
        return {"median": 0, "p95": 0, "max": 0, "at_most": {}}
    median, p95, most = np.searchsorted(ends, np.floor(np.array([0.5, 0.95, 1.0]) * (ends[-1] - 1)), "right").tolist()
    bins = Counter[str]()
    for number in np.flatnonzero(counts).tolist():
        bins[str(1 << (number - 1).bit_length() if number else 0)] += int(counts[number])
    return {"median": median, "p95": p95, "max": most, "at_most": dict(bins)}


def of_task(duplicates: Duplicates, task: int) -> dict[str, int]:
    """The counts of one task."""
    return {name: int(counts[task]) for name, counts in vars(duplicates).items()}
