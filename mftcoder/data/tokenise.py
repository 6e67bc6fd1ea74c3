"""The records of one task to an Arrow table of tokens, in batches and on all cores, in the order of the records."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import PreTrainedTokenizerBase

from mftcoder.core.dialogue import Dialogue, Example, Pretokenised
from mftcoder.data.corpus import TABLE
from mftcoder.data.encoding import Encoded, encode
from mftcoder.data.faults import EXCERPT, Fault
from mftcoder.data.fitting import TooLong, fit
from mftcoder.data.record import parse
from mftcoder.data.source import Source
from mftcoder.template.base import Template

BATCH = 1024
Row = tuple[int, str, dict[str, Any]]  # split, origin, record


@dataclass(frozen=True)
class Tokeniser:
    """Makes rows of tokens from records; the same in every process."""

    template: Template
    tokenizer: PreTrainedTokenizerBase
    source: Source
    seq_length: int
    too_long: TooLong
    concat: bool

    def __call__(self, rows: list[Row]) -> tuple[pa.RecordBatch, Counter[str], list[Fault]]:
        """The rows of one batch, how many records had which fate, and those that could not be used."""
        faults: list[Fault] = []
        examples: list[Example] = []
        splits: dict[str, int] = {}
        for split, origin, record in rows:
            try:
                examples.append(parse(record, origin, format=self.source.format, columns=self.source.columns))
                splits[origin] = split
            except ValueError as error:
                faults.append(Fault(origin, str(error).removeprefix(f"{origin}: "), json.dumps(record)[:EXCERPT]))
        pieces: list[Encoded] = []
        origins: list[tuple[int, int]] = []
        fates: Counter[str] = Counter(read=len(rows))
        for encoded in encode(examples, self.template, self.tokenizer, faults):
            parts, fate = self.fit(encoded)
            fates[fate] += 1
            pieces += parts
            origins += [(splits[encoded.source.origin], content_key(encoded.source))] * len(parts)
        fates["malformed"] = len(faults)
        return record_batch(pieces, origins), fates, faults

    def fit(self, encoded: Encoded) -> tuple[list[Encoded], str]:
        """The pieces to keep of a dialogue, and its fate; for concat it is cut only once it stands with the others."""
        if not encoded.supervised.any():
            return [], "empty"
        if self.concat:
            return [encoded], "whole"
        return fit(encoded, self.template, self.tokenizer, seq_length=self.seq_length, too_long=self.too_long)


def content_key(source: Dialogue | Pretokenised) -> int:
    """64 bits of the hash of what a record says, wherever it stands."""
    if isinstance(source, Pretokenised):
        words = source.ids.tobytes()
    else:
        words = json.dumps([(turn.role, turn.content) for turn in source.turns]).encode()
    return int.from_bytes(blake2b(words, digest_size=8).digest(), "little")


def record_batch(pieces: list[Encoded], origins: list[tuple[int, int]]) -> pa.RecordBatch:
    """The Arrow rows of `pieces`, with the split and key of the dialogue that each came from."""
    offsets = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces], dtype=np.int64)]).astype(np.int32)
    ids = np.concatenate([np.zeros(0, np.int32), *(piece.ids for piece in pieces)])
    supervised = np.concatenate([np.zeros(0, np.bool_), *(piece.supervised for piece in pieces)])
    columns = [
        pa.ListArray.from_arrays(offsets, ids),
        pa.ListArray.from_arrays(offsets, supervised),
        pa.array([int(piece.supervised.sum()) for piece in pieces], pa.int32()),
        pa.array([split for split, _ in origins], pa.int8()),
        pa.array([key for _, key in origins], pa.uint64()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=TABLE)


def tokenise(
    tokeniser: Tokeniser, path: Path, *, name: str, limit: int | None, num_workers: int, show: bool
) -> tuple[Counter[str], list[Fault]]:
    """Write the table of one task to `path`; returns how many records had which fate, and the faults."""
    faults: list[Fault] = []
    fates: Counter[str] = Counter()
    rows = tokeniser.source.records(limit, faults)
    batches = iter(lambda: list(islice(rows, BATCH)), [])
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        pa.OSFile(str(path), "wb") as file,
        pa.ipc.new_file(file, TABLE) as writer,
        Progress(*columns, disable=not show) as bar,
    ):
        task = bar.add_task(f"tokenising {name}", total=None)
        for batch, counts, unusable in mapped(tokeniser, batches, num_workers):
            writer.write_batch(batch)
            fates += counts
            faults += unusable
            bar.advance(task, counts["read"])
    fates["malformed"] = len(faults)
    return fates, faults


def mapped(function: Tokeniser, items: Iterable[list[Row]], num_workers: int) -> Iterator[Any]:
    """function(item) for each item, in order; in `num_workers` processes, with few items in memory at any time."""
    if num_workers <= 1:
        yield from map(function, items)
        return
    pending: deque[Future[Any]] = deque()
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 2 * num_workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
