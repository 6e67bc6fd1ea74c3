"""The records of one task to an Arrow table of tokens, in batches and on all cores, in the order of the records."""

from __future__ import annotations

import gc
import json
import os
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
import pyarrow as pa
from transformers import PreTrainedTokenizerBase
from xxhash import xxh3_64_intdigest

from mftcoder.core.dialogue import Dialogue, Example, Pretokenised
from mftcoder.data.corpus.tables import SCHEMA, TABLE
from mftcoder.data.records.faults import EXCERPT, Fault
from mftcoder.data.records.parsing import parse
from mftcoder.data.records.source import Record, Source
from mftcoder.data.tokens.encoding import Encoded, encode
from mftcoder.data.tokens.too_long import TooLong, fit
from mftcoder.system.progress_bar import progress
from mftcoder.template.base import Template

BATCH = 1024
LARGE = 1 << 26  # bytes of records from which on processes are worth their start
FEW = 4  # cores that threads can keep busy
THREADS = 2
QUARANTINE = "quarantine.jsonl"


@dataclass(frozen=True, slots=True)
class Piece:
    """An example, or a part of it, with the split and the hash of the whole."""

    tokens: Encoded
    split: int
    key: int


@dataclass(frozen=True, slots=True)
class TokenisedBatch:
    """What became of a batch of records.

    Args:
        rows: of the table.
        fates: how many records met which fate.
        faults: records that could not be used.
        lost: records that were dropped as too long, or have nothing to learn.
    """

    rows: pa.RecordBatch
    fates: Counter[str]
    faults: list[Fault]
    lost: list[Fault]


@dataclass(frozen=True)
class Tokeniser:
    """Makes rows of tokens from records; the same in every process.

    Args:
        template: renders the dialogues.
        tokenizer: of the model.
        source: of the records.
        seq_length: most tokens of a sample.
        too_long: what happens to longer ones; None keeps them whole.
    """

    template: Template
    tokenizer: PreTrainedTokenizerBase
    source: Source
    seq_length: int
    too_long: TooLong | None

    def __call__(self, records: list[Record]) -> TokenisedBatch:
        """The rows of one batch, in order."""
        faults: list[Fault] = []
        fates: Counter[str] = Counter(read=len(records))
        examples: list[Example] = []
        splits: dict[str, int] = {}
        for split, origin, record in records:
            try:
                examples.append(parse(record, origin, format=self.source.format, columns=self.source.columns))
                splits[origin] = split
            except ValueError as error:
                faults.append(Fault(origin, str(error).removeprefix(f"{origin}: "), str(record)[:EXCERPT]))
        pieces: list[Piece] = []
        lost: list[Fault] = []
        for encoded in encode(examples, self.template, self.tokenizer, faults):
            parts, fate = self.fit(encoded)
            pieces += [Piece(part, splits[encoded.source.origin], content_key(encoded.source)) for part in parts]
            fates[fate] += 1
            if not parts:
                lost.append(Fault(encoded.source.origin, self.loss(encoded, fate), str(encoded.source)[:EXCERPT]))
        return TokenisedBatch(rows(pieces), fates, faults, lost)

    def loss(self, encoded: Encoded, fate: str) -> str:
        """Why nothing is kept of an example."""
        if fate == "empty":
            return f"empty: none of its {len(encoded)} tokens is supervised"
        return f"dropped: {len(encoded)} tokens, of which no part fits data.seq_length={self.seq_length}"

    def fit(self, encoded: Encoded) -> tuple[list[Encoded], str]:
        """The pieces to keep of an example, and its fate."""
        if not encoded.supervised.any():
            return [], "empty"
        if self.too_long is None:
            return [encoded], "whole"
        return fit(encoded, self.template, self.tokenizer, seq_length=self.seq_length, too_long=self.too_long)


def rows(pieces: list[Piece]) -> pa.RecordBatch:
    """The Arrow rows of `pieces`."""
    offsets = np.cumsum([0, *(len(piece.tokens) for piece in pieces)], dtype=np.int32)
    ids = np.concatenate([np.zeros(0, np.int32), *(piece.tokens.ids for piece in pieces)])
    supervised = np.concatenate([np.zeros(0, np.bool_), *(piece.tokens.supervised for piece in pieces)])
    columns = [
        pa.ListArray.from_arrays(offsets, ids),
        pa.ListArray.from_arrays(offsets, supervised),
        pa.array([int(piece.tokens.supervised.sum()) for piece in pieces], pa.int32()),
        pa.array([piece.split for piece in pieces], pa.int8()),
        pa.array([piece.key for piece in pieces], pa.uint64()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def content_key(example: Dialogue | Pretokenised) -> int:
    """64 bits of the hash of what an example says, wherever it stands and whoever tokenises it."""
    if isinstance(example, Pretokenised):
        return xxh3_64_intdigest(example.ids.tobytes())
    return xxh3_64_intdigest("\0".join([f"{turn.role}\0{turn.content}" for turn in example.turns]).encode())


def tokenise(
    tokeniser: Tokeniser, directory: Path, *, name: str, limit: int | None, num_workers: int | None
) -> tuple[Counter[str], list[Fault]]:
    """Writes the table of one task, and what is not used of it, into a directory.

    Args:
        tokeniser: of the task.
        directory: for the table and the quarantine.
        name: of the task, for the progress bar.
        limit: most samples of each split, or None.
        num_workers: processes; 0 is this one alone; None is one a core if there is much for many cores.

    Returns:
        How many records met which fate, and those that could not be used.
    """
    source = tokeniser.source
    unreadable: list[Fault] = []
    unusable: list[Fault] = []
    lost: list[Fault] = []
    fates: Counter[str] = Counter()
    records = source.records(limit, unreadable)
    batches = iter(lambda: list(islice(records, BATCH)), [])
    with ExitStack() as stack:
        stack.enter_context(settled())
        file = stack.enter_context(pa.OSFile(str(directory / TABLE), "wb"))
        writer = stack.enter_context(pa.ipc.new_file(file, SCHEMA))
        bar = stack.enter_context(progress(transient=False))
        total = source.lines() if limit is None and not bar.disable else None
        shown = bar.add_task(f"tokenising {name}", total=total)
        for batch in mapped(tokeniser, batches, processes(source, limit, num_workers)):
            writer.write_batch(batch.rows)
            fates += batch.fates
            unusable += batch.faults
            lost += batch.lost
            bar.advance(shown, batch.fates["read"])
    faults = [*unreadable, *unusable]
    lines = (json.dumps(asdict(fault), ensure_ascii=False) + "\n" for fault in [*faults, *lost])
    (directory / QUARANTINE).write_text("".join(lines), encoding="utf-8", errors="backslashreplace")
    fates += Counter(read=len(unreadable), malformed=len(faults))
    return fates, faults


@contextmanager
def settled() -> Iterator[None]:
    """Spare the garbage collector all that is there already: it would look through it again for every few batches."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def processes(source: Source, limit: int | None, num_workers: int | None) -> int:
    """How many processes tokenise: `num_workers`, or one a core if that is None and there is much for many cores."""
    if num_workers is not None:
        return num_workers
    cores = os.cpu_count() or 1
    large = limit is None and sum(file.stat().st_size for file in source.files) >= LARGE
    return cores if large and cores > FEW else 0


def mapped(tokeniser: Tokeniser, batches: Iterable[list[Record]], num_workers: int) -> Iterator[TokenisedBatch]:
    """tokeniser(batch) for each batch, in order; with few batches in memory at any time.

    Without processes two threads take turns: while one waits for the Rust tokenizer, which uses all cores, the other
    parses and renders.
    """
    pending: deque[Future[TokenisedBatch]] = deque()
    with ThreadPoolExecutor(THREADS) if num_workers == 0 else pool(tokeniser, num_workers) as workers:
        function = tokeniser if num_workers == 0 else work
        for batch in batches:
            pending.append(workers.submit(function, batch))
            if len(pending) > 2 * (num_workers or THREADS):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def pool(tokeniser: Tokeniser, num_workers: int) -> ProcessPoolExecutor:
    """Processes that know the tokeniser. They are spawned: a fork would copy the locks of threads, but no threads."""
    return ProcessPoolExecutor(num_workers, get_context("spawn"), initializer=adopt, initargs=(tokeniser,))


own: list[Tokeniser] = []  # of a worker process


def adopt(tokeniser: Tokeniser) -> None:
    """What a worker process does first; it has one core, so that the Rust tokenizer shall use one thread."""
    threading.Thread(target=die_with_parent, daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    gc.freeze()
    own.append(tokeniser)


def die_with_parent() -> None:
    """End this process as soon as the one that started it is gone, however that was killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def work(batch: list[Record]) -> TokenisedBatch:
    """What it does with each batch."""
    return own[0](batch)
