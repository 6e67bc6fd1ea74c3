"""Splits of given lengths, without files: what the stream of packs is tested on."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from mftcoder.data.corpus.tables import Split
from mftcoder.data.stream.shares import Shares
from mftcoder.data.stream.stream import Recipe


def memory_split(lengths: Sequence[Sequence[int]], cache_dir: Path = Path("nowhere")) -> Split:
    """One task a sequence of lengths; every second token is a target."""
    tables = [SimpleNamespace(lengths=np.array(n, np.int32), targets=np.array(n, np.int32) // 2) for n in lengths]
    rows = [np.arange(len(n)) for n in lengths]
    return Split([f"task{i}" for i in range(len(lengths))], tables, rows, cache_dir)


def natural(split: Split, **changes: object) -> Recipe:
    """The recipe of a stream that holds every sample once an epoch."""
    tokens = [split.num_tokens(task) for task in range(split.num_tasks)]
    settings = {
        "shares": Shares([(0.0, [n / sum(tokens) for n in tokens])], [np.inf] * len(tokens)),
        "tokens_per_sample": None,
        "epoch_size": float(sum(tokens)),
        "capacity": 64,
        "one_per_pack": False,
        "look_ahead": 32,
        "seed": 0,
    }
    return Recipe(**(settings | changes))


def skewed(task: int, number: int, longest: int) -> list[int]:
    """Lengths as of real dialogues: most of them short, a few almost as long as a pack."""
    random = np.random.default_rng([task, number])
    return np.clip(random.lognormal(np.log(longest / 7), 0.6, number), longest / 20, longest).astype(int).tolist()
