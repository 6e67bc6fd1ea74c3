"""Several tasks, from their sources to the stream that a run learns from."""

from abc import abstractmethod
from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b
from os import environ
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase
from typing_extensions import TypedDict

from mftcoder.core.errors import UserError
from mftcoder.data.base import Data
from mftcoder.data.cache import cached, digest, file_digest, notes
from mftcoder.data.collate import PaddingMode
from mftcoder.data.corpus import Corpus, Split, Table
from mftcoder.data.faults import refuse
from mftcoder.data.fitting import TooLong
from mftcoder.data.sampler import Sampler
from mftcoder.data.source import Source
from mftcoder.data.tokenise import Tokeniser, tokenise
from mftcoder.template.base import Template


class Task(TypedDict, total=False):
    """What may be said of one task; what is not said is neutral.

    weight: of its loss (1).
    """

    weight: float


@dataclass(kw_only=True)
class Mixture(Data):
    """Tasks from anywhere: a subclass says where their records are.

    tasks: what is said of each task, by name. data_split: parts of train, valid and test, for sources that do not say.
    too_long: what happens to dialogues of more than seq_length tokens, see data.fitting. look_ahead: how many samples
    of each task packing may choose from. limit: the most records of a task and split, None for all.
    num_workers: processes that tokenise.
    """

    tasks: dict[str, Task]
    seq_length: int
    padding_mode: PaddingMode
    data_split: list[float]
    too_long: TooLong
    look_ahead: int
    limit: int | None
    num_workers: int

    @abstractmethod
    def sources(self, cache_dir: Path) -> dict[str, Source]:
        """Where the records of each task are, by its name."""

    def load(self, *, tokenizer: PreTrainedTokenizerBase, template: Template, seed: int, cache_dir: Path) -> Corpus:
        """All tasks as tokens, from the cache or made now; `seed` decides what is held out where files do not say."""
        sources = self.sources(cache_dir)
        unknown = set(self.tasks) - set(sources)
        if unknown:
            raise UserError(f"data.tasks: no task {', '.join(sorted(unknown))}; there are {', '.join(sources)}")
        tables: list[Table] = []
        report = {}
        for name, source in sources.items():
            directory = self._table(name, source, template, tokenizer, cache_dir)
            tables.append(Table(directory / "table.arrow"))
            report[name] = notes(directory)
        rows = [assign(table, self.data_split, seed) for table in tables]
        train, valid, test = (Split(tables, [task_rows[i][: self.limit] for task_rows in rows]) for i in range(3))
        weights = [self.tasks.get(name, {}).get("weight", 1.0) for name in sources]
        return Corpus(list(sources), weights, train, valid, test, report)

    def _table(
        self, name: str, source: Source, template: Template, tokenizer: PreTrainedTokenizerBase, cache_dir: Path
    ) -> Path:
        """The directory with the tokens of one task."""
        concat = self.padding_mode == "concat"
        tokeniser = Tokeniser(template, tokenizer, source, self.seq_length, self.too_long, concat)
        key = {
            "files": [[path.name, source.split_of(path), file_digest(path)] for path in source.files()],
            "format": [source.format, dict(source.columns)],
            "template": [type(template).__module__, type(template).__qualname__, repr(sorted(vars(template).items()))],
            "tokenizer": tokenizer_digest(tokenizer),
            "code": code_digest(),
            "fit": [self.seq_length, self.too_long, concat],
            "limit": self.limit,
        }

        def build(directory: Path) -> dict[str, int]:
            show = environ.get("RANK", "0") == "0"
            fates, faults = tokenise(
                tokeniser,
                directory / "table.arrow",
                name=name,
                limit=self.limit,
                num_workers=self.num_workers,
                show=show,
            )
            refuse(faults, rows=fates["read"], max_fraction=0.0, remedy=f"Mend or remove them in {source.path}.")
            return account(fates)

        return cached(cache_dir, "tokens", key, build)

    def sampler(self, split: Split, *, packs_per_step: int, seed: int) -> Sampler:
        """The endless stream of packs of `split`, the same on every rank."""
        return Sampler(
            split,
            packs_per_step=packs_per_step,
            seed=seed,
            seq_length=self.seq_length,
            look_ahead=self.look_ahead,
            alone=self.padding_mode == "padding",
        )


def account(fates: Counter[str]) -> dict[str, int]:
    """What became of the records of a task."""
    used = fates["whole"] + fates["cut"] + fates["split"]
    return {"used": used} | {fate: fates[fate] for fate in ("read", "cut", "split", "dropped", "empty", "malformed")}


def assign(table: Table, parts: list[float], seed: int) -> list[NDArray[np.int64]]:
    """Rows of train, valid and test: as the source says, and else by a hash of seed and content.

    Dialogues of the same content share a split, and so do the pieces of one. A part above 0 gets at least one row.
    """
    undecided = np.flatnonzero(table.split < 0)
    salt = np.frombuffer(blake2b(str(seed).encode(), digest_size=8).digest(), np.uint64)
    keys = (table.key[undecided] ^ salt) * np.uint64(0x9E3779B97F4A7C15)
    order = np.argsort(keys, kind="stable")
    valid, test, train = np.split(undecided[order], cuts(keys[order], parts))
    return [np.sort(np.append(np.flatnonzero(table.split == i), rows)) for i, rows in enumerate((train, valid, test))]


def cuts(keys: NDArray[np.uint64], parts: list[float]) -> list[int]:
    """Where valid and where test end among rows sorted by `keys`, never between two rows of one key."""
    ends: list[int] = []
    for part in parts[1:]:
        size = max(1, round(part / sum(parts) * len(keys))) if part > 0 else 0
        end = min(len(keys), (ends[-1] if ends else 0) + size)
        ends.append(int(np.searchsorted(keys, keys[end - 1], side="right")) if end else 0)
    return ends


def tokenizer_digest(tokenizer: Any) -> str:
    """The hash of all that decides which ids a text gets."""
    inner = tokenizer.backend_tokenizer.to_str()
    return digest((inner + repr(sorted(map(str, tokenizer.special_tokens_map.items())))).encode())


def code_digest() -> str:
    """The hash of the code that makes tokens of records: a change to it makes them anew."""
    here = Path(__file__).parent
    names = ("reader", "record", "shapes", "encoding", "fitting", "source", "tokenise", "corpus")
    templates = sorted((here.parent / "template").glob("*.py"))
    return digest(
        "".join(file_digest(path) for path in [*(here / f"{name}.py" for name in names), *templates]).encode()
    )
