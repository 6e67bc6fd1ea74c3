"""Which rows of a table are for training, which for validation and which for the test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from mftcoder.data.corpus.tables import Table
from mftcoder.data.records.source import SPLITS, UNDECIDED

ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: multiplying by it mixes the order of keys


def hold_out(table: Table, parts: Sequence[float], seed: int) -> list[NDArray[np.int32]]:
    """Rows of train, valid and test: as the source says, and else by a hash of seed and content.

    Examples of the same content share a split, and so do the pieces of one. A part above 0 gets at least one row,
    train first, as long as there are any.

    Args:
        table: of one task.
        parts: of train, valid and test, in proportion.
        seed: data.split_seed.

    Returns:
        Rows int32 of each split.
    """
    split = table.split.copy()
    undecided = split == UNDECIDED
    if undecided.any():
        keys = (table.key[undecided] ^ np.uint64(xxh3_64_intdigest(str(seed).encode()))) * ODD
        split[undecided] = divided(keys, parts)
    return [np.flatnonzero(split == i).astype(np.int32) for i in range(len(SPLITS))]


def divided(keys: NDArray[np.uint64], parts: Sequence[float]) -> NDArray[np.int8]:
    """The split [n] of each key: those with the lowest are for validation, the next for the test, the highest train."""
    ordered = np.sort(keys)
    free = int(np.searchsorted(ordered, ordered[-1]))
    split = np.zeros(len(keys), dtype=np.int8)
    end = 0
    for i, part in enumerate(parts[1:], start=1):
        size = max(1, round(part / sum(parts) * len(keys))) if part > 0 else 0
        last = min(free, end + size)
        if last > end:
            split[(split == 0) & (keys <= ordered[last - 1])] = i
            end = int(np.searchsorted(ordered, ordered[last - 1], side="right"))
    return split
