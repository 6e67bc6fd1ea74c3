"""What became of the records of each task, and what is odd about what was kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from xxhash import xxh3_64_intdigest

from mftcoder.core.batch import Sample
from mftcoder.core.errors import UserError
from mftcoder.data.corpus import Corpus, Split
from mftcoder.data.duplicates import Duplicates, Places, exact, near
from mftcoder.data.source import SPLITS

Report = dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Counts, and refuses what is above a threshold; null allows anything.

    near_duplicates: the likeness from which on two samples are nearly the same; null does not look for them.
    num_compared: among how many samples of each task and split it looks, spread evenly.
    max_lost_fraction: of a task's records that may be dropped as too long, or have nothing to learn.
    max_duplicate_fraction: of its samples that may repeat one before. max_leaked_fraction: of its held-out samples
    that may say exactly what a training sample says.
    """

    near_duplicates: float | None
    num_compared: int
    max_lost_fraction: float | None
    max_duplicate_fraction: float | None
    max_leaked_fraction: float | None

    def report(self, corpus: Corpus) -> Report:
        """By task: the fate of its records; samples, tokens and targets of each split; histograms; duplicates."""
        samples = Samples.of(corpus)
        num_tasks = len(corpus.tasks)
        keys, answers = samples.measured()
        duplicates = {"exact": exact(keys, samples.places, num_tasks)}
        if self.near_duplicates is not None:
            some = samples.some(self.num_compared)
            duplicates["near"] = near(some.ids(), some.places, num_tasks, self.near_duplicates)
        return {
            name: {
                "records": dict(corpus.report[name]),
                **{split: sizes(part, task) for split, part in zip(SPLITS, samples.splits, strict=True)},
                "tokens": histogram(np.concatenate([part.lengths(task) for part in samples.splits])),
                "answers": histogram(answers[samples.places.task == task]),
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


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of a corpus, one after the other. index: [n], of each in its task and split."""

    splits: tuple[Split, ...]
    places: Places
    index: NDArray[np.int64]

    @classmethod
    def of(cls, corpus: Corpus) -> Samples:
        """All of them."""
        splits = (corpus.train, corpus.valid, corpus.test)
        counts = [[split.num_samples(task) for task in range(len(corpus.tasks))] for split in splits]
        split, task = np.divmod(np.repeat(np.arange(np.size(counts)), np.ravel(counts)), len(corpus.tasks))
        index = np.concatenate([np.arange(0), *(np.arange(count) for count in np.ravel(counts))])
        return cls(splits, Places(task=task, split=split), index)

    def some(self, number: int) -> Samples:
        """At most `number` of each task and split, spread evenly."""
        place = self.places.split * (self.places.task.max(initial=0) + 1) + self.places.task
        sizes = np.bincount(place)[place]
        chosen = (self.index * number) // sizes != ((self.index + 1) * number) // sizes
        chosen |= sizes <= number
        return Samples(self.splits, Places(self.places.task[chosen], self.places.split[chosen]), self.index[chosen])

    def __len__(self) -> int:
        return len(self.index)

    def __iter__(self) -> Iterator[Sample]:
        for split, task, index in zip(self.places.split, self.places.task, self.index, strict=True):
            yield self.splits[split].sample(int(task), int(index))

    def ids(self) -> Iterator[NDArray[np.int32]]:
        """The tokens of each, with a progress bar."""
        return (sample.ids for sample in shown(self, "comparing", len(self)))

    def measured(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Of each sample a key [n] of its tokens, and the number [n] of its answers: runs of targets."""
        keys = np.empty(len(self), dtype=np.uint64)
        answers = np.empty(len(self), dtype=np.int64)
        for i, sample in enumerate(shown(self, "auditing", len(self))):
            keys[i] = xxh3_64_intdigest(np.ascontiguousarray(sample.ids).data)
            answers[i] = np.count_nonzero(sample.supervised[1:] > sample.supervised[:-1])
        return keys, answers


def shown(samples: Iterable[Sample], what: str, total: int) -> Iterable[Sample]:
    """The samples, with a progress bar."""
    return track(samples, description=what, total=total, transient=True)


def sizes(split: Split, task: int) -> dict[str, int]:
    """Samples, tokens and targets of a task in a split."""
    lengths, targets = split.lengths(task), split.supervised(task)
    return {
        "samples": len(lengths),
        "tokens": int(lengths.sum(dtype=np.int64)),
        "targets": int(targets.sum(dtype=np.int64)),
    }


def histogram(values: NDArray[Any]) -> dict[str, Any]:
    """Quantiles of whole numbers from 0, and how many are at most 0, 1, 2, 4, 8 …, and above the power before."""
    if not len(values):
        return {"median": 0, "p95": 0, "max": 0, "at_most": {}}
    tops = np.ceil(np.log2(np.maximum(values, 0.5))).astype(int)
    bins, counts = np.unique(tops, return_counts=True)
    median, p95, most = np.quantile(values, [0.5, 0.95, 1.0], method="lower").tolist()
    at_most = {str(int(2.0**top)): int(number) for top, number in zip(bins, counts, strict=True)}
    return {"median": median, "p95": p95, "max": most, "at_most": at_most}


def of_task(duplicates: Duplicates, task: int) -> dict[str, int]:
    """The counts of one task."""
    return {name: int(counts[task]) for name, counts in vars(duplicates).items()}
