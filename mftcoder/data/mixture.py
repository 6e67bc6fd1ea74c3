"""Several tasks, from their sources to the stream that a run learns from."""

# No `from __future__ import annotations`: the inherited signatures of subclasses need real annotations.
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase
from typing_extensions import TypedDict

from mftcoder.core.errors import UserError
from mftcoder.data.base import Data
from mftcoder.data.corpus import fingerprint
from mftcoder.data.corpus.cache import cached, file_digest, notes
from mftcoder.data.corpus.concat import Concatenated
from mftcoder.data.corpus.held_out import hold_out
from mftcoder.data.corpus.tables import TABLE, Corpus, Split, Table
from mftcoder.data.records.faults import refuse
from mftcoder.data.records.formats import Format
from mftcoder.data.records.source import SPLITS, Source
from mftcoder.data.stream.collate import PaddingMode
from mftcoder.data.stream.epoch import Sizes, Stop, epoch
from mftcoder.data.stream.sampler import Sampler
from mftcoder.data.stream.shares import Shares, divide
from mftcoder.data.stream.stream import Recipe
from mftcoder.data.tokens.tokenise import QUARANTINE, Tokeniser, tokenise
from mftcoder.data.tokens.too_long import TooLong
from mftcoder.template.base import Template

FILL = 0.98  # of seq_length, that packs hold on average


class Task(TypedDict, total=False):
    """What may be said of one task; what is not said is neutral.

    weight: of its loss (1). share: of the stream, one number, or one for each stage; null: in proportion to its size.
    repeat: the most passes over its data in the whole run; null: any number. path: where its records are, one or
    several; format, columns: of the records, see data.record.
    """

    weight: float
    share: float | list[float | None] | None
    repeat: float | None
    path: str | list[str]
    format: Format | None
    columns: dict[str, str]


@dataclass(kw_only=True)
class Mixture(Data):
    """Tasks from anywhere: a subclass says where their records are.

    tasks: what is said of each task, by name. data_split: parts of train, valid and test, for sources that do not say.
    too_long: what happens to dialogues of more than seq_length tokens, see data.fitting. limit: the most samples of a
    task and split. max_quarantined_fraction: of a task's records that may be unusable before the run is refused.
    share_of: what shares are of. temperature: tasks without a share have size ** temperature. stages: totals of tokens
    (or samples) at which the next of a task's shares takes over. stop: what ends an epoch: the first or the last task
    that has been seen once, or max_tokens. stratified: whether each step holds every task. look_ahead: how many samples
    of each task packing may choose from. num_workers: processes that tokenise, see data.tokenise.
    """

    tasks: dict[str, Task]
    seq_length: int
    padding_mode: PaddingMode
    data_split: list[float]
    too_long: TooLong
    limit: int | None
    max_quarantined_fraction: float
    share_of: Literal["tokens", "samples"]
    temperature: float
    stages: list[float]
    stop: Stop
    max_tokens: int | None
    stratified: bool
    look_ahead: int
    num_workers: int | None

    def __post_init__(self) -> None:
        if len(self.data_split) != len(SPLITS) or min(self.data_split) < 0 or self.data_split[0] <= 0:
            raise ValueError(f"data_split: {self.data_split} is not three parts, as [95, 5, 0]")
        if self.seq_length < 2 or self.look_ahead < 1:
            raise ValueError(f"seq_length: {self.seq_length} or look_ahead: {self.look_ahead} is too small")
        if (self.stop == "max_tokens") != (self.max_tokens is not None):
            raise ValueError(f"max_tokens: {self.max_tokens} does not go with stop: {self.stop}; give both, or neither")
        if sorted(set(self.stages)) != self.stages or min([1.0, *self.stages]) <= 0:
            raise ValueError(f"stages: {self.stages} are not rising totals above 0")
        for name, task in self.tasks.items():
            self._check_task(name, task)
        names = self.task_names()
        if names and not any(self.tasks.get(name, Task()).get("weight", 1.0) for name in names):
            raise ValueError(f"tasks: all of {', '.join(names)} have weight 0, so nothing would be learnt")

    def _check_task(self, name: str, task: Task) -> None:
        if "/" in name:
            raise ValueError(f"tasks.{name}: a task's name becomes part of files' names; take one without '/'")
        shares = self._shares_of(task)
        if len(shares) != len(self.stages) + 1:
            raise ValueError(f"tasks.{name}.share: {len(shares)} shares for {len(self.stages) + 1} stages")
        if any(share is not None and not 0 <= share <= 1 for share in shares):
            raise ValueError(f"tasks.{name}.share: {shares} are not between 0 and 1")
        weight, repeat = task.get("weight", 1.0), task.get("repeat")
        if weight < 0:
            raise ValueError(f"tasks.{name}.weight: {weight} is below 0")
        if repeat is not None and repeat <= 0:
            raise ValueError(f"tasks.{name}.repeat: {repeat} is not above 0; share: 0 leaves a task out")

    def _shares_of(self, task: Task) -> list[float | None]:
        """Its share in each stage."""
        share = task.get("share")
        return share if isinstance(share, list) else [share] * (len(self.stages) + 1)

    def conflicts(self, parts: Mapping[str, Any]) -> Iterator[str]:
        """Why it cannot run with the other components of a run."""
        attention = getattr(parts.get("model"), "attn_implementation", None)
        if self.padding_mode != "padding" and attention not in (None, "sdpa") and "flash" not in attention:
            yield (
                f"padding_mode: {self.padding_mode} makes packs, where sdpa or FlashAttention takes the place of "
                f"model.attn_implementation={attention}; take one of them or null, or data.padding_mode=padding"
            )

    def task_names(self) -> list[str]:
        """The tasks that it will have; known before any record is read."""
        return list(self.tasks)

    @abstractmethod
    def sources(self, cache_dir: Path) -> Mapping[str, Source]:
        """Where the records of each task are, by its name."""

    def load(self, *, tokenizer: PreTrainedTokenizerBase, template: Template, seed: int, cache_dir: Path) -> Corpus:
        """All tasks as tokens, from the cache or made now; `seed` decides what is held out where files do not say."""
        sources = self.sources(cache_dir)
        unknown = set(self.tasks) - set(sources)
        if unknown:
            raise UserError(f"data.tasks: no task {', '.join(sorted(unknown))}; there are {', '.join(sources)}")
        made = [self._tokens(name, source, template, tokenizer, cache_dir) for name, source in sources.items()]
        tables = [Table(directory / TABLE) for directory in made]
        rows = [hold_out(table, self.data_split, seed) for table in tables]
        splits = [
            Split(list(sources), tables, [task[i][: self.limit] for task in rows], cache_dir)
            for i in range(len(SPLITS))
        ]
        if self.padding_mode == "concat":
            splits = [Concatenated(split, self.seq_length) for split in splits]
        weights = [float(self.tasks.get(name, {}).get("weight", 1.0)) for name in sources]
        report = {
            name: {**notes(directory), "quarantine": str(directory / QUARANTINE)}
            for name, directory in zip(sources, made, strict=True)
        }
        train, valid, test = splits
        return Corpus(list(sources), weights, train, valid, test, report)

    def _tokens(
        self, name: str, source: Source, template: Template, tokenizer: PreTrainedTokenizerBase, cache_dir: Path
    ) -> Path:
        """The directory with the tokens of one task."""
        too_long = None if self.padding_mode == "concat" else self.too_long
        tokeniser = Tokeniser(template, tokenizer, source, self.seq_length, too_long)
        key = {
            "files": [[file.name, source.split_of(file), file_digest(file)] for file in source.files],
            "records": [source.format, dict(source.columns), self.limit, self.max_quarantined_fraction],
            "template": fingerprint.of_template(template),
            "tokenizer": fingerprint.of_tokenizer(tokenizer),
            "code": fingerprint.of_code(tokenise.__module__),
            "fit": too_long and [self.seq_length, too_long],
        }

        def build(directory: Path) -> dict[str, int]:
            fates, faults = tokenise(tokeniser, directory, name=name, limit=self.limit, num_workers=self.num_workers)
            remedy = f"Mend or remove them, or allow some with data.max_quarantined_fraction (task {name})."
            refuse(faults, rows=fates["read"], max_fraction=self.max_quarantined_fraction, remedy=remedy)
            used = sum(fates[fate] for fate in ("whole", "cut", "split"))
            kinds = ("read", "cut", "split", "dropped", "empty", "malformed")
            if not used:
                fate = ", ".join(f"{fates[kind]} {kind}" for kind in kinds)
                raise UserError(f"task {name}: nothing to learn is left of its records ({fate}); see prepare show=5")
            return {"used": used} | {kind: fates[kind] for kind in kinds}

        return cached(cache_dir, "tokens", key, build)

    def sampler(self, split: Split, *, packs_per_step: int, seed: int) -> Sampler:
        """The endless stream of packs of `split`, the same on every rank.

        Raises UserError where a task has no sample in it, and its share is not 0.
        """
        self._refuse_empty(split)
        sizes = Sizes(split, by_tokens=self.share_of == "tokens")
        alone = self.padding_mode == "padding"
        tasks = [self.tasks.get(name, Task()) for name in split.tasks]
        stages = [
            divide([self._shares_of(task)[i] for task in tasks], sizes.amounts, self.temperature)
            for i in range(len(self.stages) + 1)
        ]
        if self.stratified:
            samples, tokens = packs_per_step if alone else None, packs_per_step * FILL * self.seq_length
            stages = [sizes.stratified(stage, samples=samples, tokens=tokens) for stage in stages]
        repeats = [task.get("repeat") for task in tasks]
        capacity = [inf if r is None else r * amount for r, amount in zip(repeats, sizes.amounts, strict=True)]
        shares = Shares(list(zip([0.0, *self.stages], stages, strict=True)), capacity)
        recipe = Recipe(
            shares=shares,
            unit=sizes.unit,
            epoch=epoch(shares, sizes, self.stop, self.max_tokens),
            room=self.seq_length,
            alone=alone,
            look_ahead=self.look_ahead,
            seed=seed,
        )
        return Sampler(split, recipe, packs_per_step=packs_per_step, stratified=self.stratified)

    def _refuse_empty(self, split: Split) -> None:
        """Raise UserError for the tasks that a run would not train, though nothing says so."""
        wanted = [any(share != 0 for share in self._shares_of(self.tasks.get(name, Task()))) for name in split.tasks]
        empty = [name for task, name in enumerate(split.tasks) if wanted[task] and not split.num_samples(task)]
        if not empty:
            return
        sources = self.sources(split.cache_dir)
        lines = [f"  {name}: {_some(sources[name].files)}" for name in empty]
        raise UserError(
            "nothing is left to train on, with all samples held out, of\n" + "\n".join(lines) + "\n"
            "Files named valid or test are held out whole, others by data.data_split unless they are named train: add "
            "records, rename files, or leave a task out with ++data.tasks.<task>.share=0."
        )


def _some(files: Sequence[Path]) -> str:
    """The first of many."""
    more = [f"and {len(files) - 3} more"] if len(files) > 3 else []
    return ", ".join([*map(str, files[:3]), *more])
