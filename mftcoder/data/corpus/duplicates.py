"""Samples that say the same, or nearly: within a task, in several tasks, in training and in what is held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

SHINGLE = 5  # tokens
PERMUTATIONS = 64
BANDS = (16, 4)  # of so many permutations each: at a likeness of 0.8 all but one pair in 5 000 meet in some band
FACTOR = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Duplicates:
    """How many samples of each task are duplicates.

    Args:
        within: [T], those of an earlier sample of the same task and split.
        across: [T], those of a sample of another task.
        leaked: [T], held out, and those of a training sample of any task.
    """

    within: Ints
    across: Ints
    leaked: Ints


def exact(keys: Sequence[Sequence[NDArray[np.uint64]]]) -> Duplicates:
    """Duplicates among samples of which those with equal keys say the same.

    Args:
        keys: [split][task], each [n]; the first split is training.
    """
    tasks = list(zip(*keys, strict=True))
    trained = np.sort(np.concatenate(keys[0]))
    once = np.sort(np.concatenate([np.unique(np.concatenate(parts)) for parts in tasks]))
    shared = once[1:][once[1:] == once[:-1]]
    return Duplicates(
        within=np.array([sum(len(part) - len(np.unique(part)) for part in parts) for parts in tasks]),
        across=np.array([sum(among(part, shared) for part in parts) for parts in tasks]),
        leaked=np.array([sum(among(part, trained) for part in parts[1:]) for parts in tasks]),
    )


def among(keys: NDArray[np.uint64], known: NDArray[np.uint64]) -> int:
    """How many of `keys` are in `known`, which is sorted."""
    return int((np.searchsorted(known, keys, "right") > np.searchsorted(known, keys, "left")).sum())


@dataclass(frozen=True, slots=True)
class Places:
    """Where n samples stand.

    Args:
        task: [n].
        split: [n], 0 is training.
    """

    task: Ints
    split: Ints


def near(samples: Iterator[NDArray[np.int32]], places: Places, num_tasks: int, threshold: float) -> Duplicates:
    """Near duplicates: samples whose runs of five tokens have a Jaccard index of at least a threshold.

    The index is estimated by MinHash, and those that are compared are found by locality-sensitive hashing. Exact
    duplicates count too.

    Args:
        samples: token ids of each.
        places: task and split of each.
        num_tasks: T.
        threshold: of the Jaccard index.

    Source: Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3.
    """
    from datasketch import MinHash, MinHashLSH

    blank = MinHash(num_perm=PERMUTATIONS, hashfunc=int)
    index = MinHashLSH(num_perm=PERMUTATIONS, params=BANDS)
    known: list[MinHash] = []
    within, across, leaked = np.zeros((3, len(places.task)), dtype=np.bool_)
    for i, ids in enumerate(samples):
        sketch = blank.copy()
        sketch.update_batch(shingles(ids))
        alike = np.array([j for j in index.query(sketch) if sketch.jaccard(known[j]) >= threshold], dtype=np.int64)
        same_task, same_split = places.task[alike] == places.task[i], places.split[alike] == places.split[i]
        within[i] = (same_task & same_split).any()
        across[i] = not same_task.all()
        across[alike[~same_task]] = True
        leaked[i] = places.split[i] > 0 and (places.split[alike] == 0).any()
        leaked[alike[places.split[alike] > 0]] |= places.split[i] == 0
        index.insert(i, sketch)
        known.append(sketch)
    return Duplicates(*(count(places.task[found], num_tasks) for found in (within, across, leaked)))


def shingles(ids: NDArray[np.int32]) -> list[int]:
    """32-bit hashes of the distinct runs of five tokens; of the whole, where it is shorter."""
    length = min(SHINGLE, len(ids))
    hashed = np.zeros(len(ids) - length + 1, dtype=np.uint64)
    for k in range(length):
        hashed = (hashed + ids[k : len(ids) - length + 1 + k].astype(np.uint64) + np.uint64(1)) * FACTOR
    distinct: list[int] = np.unique(hashed >> np.uint64(32)).tolist()
    return distinct


def count(tasks: Ints, num_tasks: int) -> Ints:
    """How often each task stands in `tasks`: [T]."""
    return np.bincount(tasks, minlength=num_tasks)
