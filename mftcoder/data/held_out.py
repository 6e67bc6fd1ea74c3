"""Which rows of a table are for training, which for validation and which for the test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from mftcoder.data.corpus import Table
from mftcoder.data.source import SPLITS, UNDECIDED

ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: multiplying by it mixes the order of keys


def hold_out(table: Table, parts: Sequence[float], seed: int) -> list[NDArray[np.int64]]:
    """Rows of train, valid and test: as the source says, and else by a hash of seed and content.

    Examples of the same content share a split, and so do the pieces of one. A part above 0 gets at least one row,
    as long as there are any.
    """
    undecided = np.flatnonzero(table.split == UNDECIDED)
    keys = (table.key[undecided] ^ np.uint64(xxh3_64_intdigest(str(seed).encode()))) * ODD
    order = np.argsort(keys, kind="stable")
    valid, test, train = np.split(undecided[order], cuts(keys[order], parts))
    told = [np.flatnonzero(table.split == i) for i in range(len(SPLITS))]
    return [np.sort(np.concatenate(rows)) for rows in zip(told, (train, valid, test), strict=True)]


def cuts(keys: NDArray[np.uint64], parts: Sequence[float]) -> list[int]:
    """Where valid and where test end among rows in the order of `keys`, never between two rows of one key."""
    ends = [0]
    for part in parts[1:]:
        size = max(1, round(part / sum(parts) * len(keys))) if part > 0 else 0
        end = min(len(keys), ends[-1] + size)
        ends.append(int(np.searchsorted(keys, keys[end - 1], side="right")) if end else 0)
    return ends[1:]
