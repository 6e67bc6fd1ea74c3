"""The settings of several tasks that are mixed, and what can be checked of them before any record is read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase
from typing_extensions import TypedDict

from mftcoder.core.errors import UserError, raise_faults
from mftcoder.data.base import Data
from mftcoder.data.corpus.tables import Corpus, Split
from mftcoder.data.loading import Loader
from mftcoder.data.records.formats import Format
from mftcoder.data.records.source import SPLITS, Source
from mftcoder.data.stream.collate import PaddingMode
from mftcoder.data.stream.epoch import Stop
from mftcoder.data.stream.recipe import make_recipe
from mftcoder.data.stream.sampler import Sampler
from mftcoder.data.tokens.too_long import TooLong
from mftcoder.template.base import Template

MAX_NAME_BYTES = 200  # of a task, so that files may be named after it


class Task(TypedDict, total=False):
    """What may be said of one task; what is not said is neutral.

    Attributes:
        weight: of its loss; 1 if not said.
        share: of the stream, one number or one a stage; null is in proportion to its size.
        repeat: most passes over its data in the whole run; null is any number.
        path: where its records are, one path or several.
        format: of its records, see `mftcoder.data.records.formats`; null finds it.
        columns: names of its keys, as {name in the format: name in the records}.
        metrics: names of what `evaluate` measures of it; what suits its records if not said.
    """

    weight: float
    share: float | list[float | None] | None
    repeat: float | None
    path: str | list[str]
    format: Format | None
    columns: dict[str, str]
    metrics: list[str]


@dataclass(kw_only=True)
class Mixture(Data):
    """Tasks from anywhere; a subclass says where their records are.

    Args:
        tasks: what is said of each task, by name.
        seq_length: most tokens of a dialogue, and of a pack.
        padding_mode: pack, padding or concat, see `Data`.
        data_split: parts of train, valid and test, for sources that do not say.
        split_seed: decides what is held out; the seed of a run does not.
        too_long: what happens to dialogues of more than seq_length tokens, see `mftcoder.data.tokens.too_long`.
        limit: most samples of a task and split, or null.
        max_quarantined_fraction: of a task's records that may be unusable before the run is refused.
        max_record_bytes: longest record of a JSON file, decompressed.
        share_of: whether shares are of tokens or of samples.
        temperature: tasks without a share get size ** temperature.
        stages: totals of tokens (or samples) at which the next of a task's shares takes over.
        stop: an epoch ends when the first or the last task was seen once, or at max_tokens.
        max_tokens: tokens of an epoch, with stop=max_tokens; else null.
        stratified: whether each optimizer step holds a sample of every task.
        look_ahead: samples of each task that packing may choose from.
        num_workers: processes that tokenise, see `mftcoder.data.tokens.tokenise`.

    Raises:
        ValueError: a value is impossible.
    """

    tasks: dict[str, Task]
    seq_length: int
    padding_mode: PaddingMode
    data_split: list[float]
    split_seed: int
    too_long: TooLong
    limit: int | None
    max_quarantined_fraction: float
    max_record_bytes: int
    share_of: Literal["tokens", "samples"]
    temperature: float
    stages: list[float]
    stop: Stop
    max_tokens: int | None
    stratified: bool
    look_ahead: int
    num_workers: int | None

    def __post_init__(self) -> None:
        faults = [*self._faults(), *(fault for task in self.tasks.items() for fault in self._task_faults(*task))]
        names = self.task_names()
        faults += name_faults(names)
        if names and not any(self.tasks.get(name, Task()).get("weight", 1.0) for name in names):
            faults.append(f"tasks: all of {', '.join(names)} have weight 0, so nothing would be learnt")
        raise_faults(faults, ValueError)

    def _faults(self) -> Iterator[str]:
        if len(self.data_split) != len(SPLITS) or min(self.data_split) < 0 or self.data_split[0] <= 0:
            yield f"data_split: {self.data_split} is not three parts, as [95, 5, 0]"
        if self.seq_length < 2:
            yield f"seq_length: {self.seq_length} is too small; at least 2, since the first token is no target"
        if self.max_record_bytes < 1:
            yield f"max_record_bytes: {self.max_record_bytes} lets no record through; 67108864 is 64 MB"
        if self.look_ahead < 1:
            yield f"look_ahead: {self.look_ahead} is too small; 1 keeps the order of the shuffle"
        if (self.stop == "max_tokens") != (self.max_tokens is not None):
            yield f"max_tokens: {self.max_tokens} does not go with stop: {self.stop}; give both, or neither"
        if sorted(set(self.stages)) != self.stages or min([1.0, *self.stages]) <= 0:
            yield f"stages: {self.stages} are not rising totals above 0"

    def _task_faults(self, name: str, task: Task) -> Iterator[str]:
        shares = self._shares_of(name)
        if len(shares) != len(self.stages) + 1:
            yield f"tasks.{name}.share: {len(shares)} shares for {len(self.stages) + 1} stages"
        if any(share is not None and not 0 <= share <= 1 for share in shares):
            yield f"tasks.{name}.share: {shares} are not between 0 and 1"
        weight, repeat = task.get("weight", 1.0), task.get("repeat")
        if weight < 0:
            yield f"tasks.{name}.weight: {weight} is below 0"
        if repeat is not None and repeat <= 0:
            yield f"tasks.{name}.repeat: {repeat} is not above 0; share: 0 leaves a task out"

    def _shares_of(self, name: str) -> list[float | None]:
        """The share of a task in each stage."""
        share = self.tasks.get(name, Task()).get("share")
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

    def load(self, *, tokenizer: PreTrainedTokenizerBase, template: Template, cache_dir: Path) -> Corpus:
        """All tasks as tokens, see `Data.load`."""
        sources = self.sources(cache_dir)
        unknown = sorted(set(self.tasks) - set(sources))
        if unknown:
            raise UserError(f"data.tasks: no task {', '.join(unknown)}; there are {', '.join(sources)}")
        loader = Loader(
            tokenizer=tokenizer,
            template=template,
            cache_dir=cache_dir,
            seq_length=self.seq_length,
            too_long=None if self.padding_mode == "concat" else self.too_long,
            limit=self.limit,
            max_quarantined_fraction=self.max_quarantined_fraction,
            max_record_bytes=self.max_record_bytes,
            num_workers=self.num_workers,
        )
        weights = [float(self.tasks.get(name, Task()).get("weight", 1.0)) for name in sources]
        return loader.corpus(
            sources,
            weights,
            data_split=self.data_split,
            split_seed=self.split_seed,
            concatenate=self.padding_mode == "concat",
        )

    def sampler(self, split: Split, *, packs_per_step: int, seed: int) -> Sampler:
        """The endless stream of packs, see `Data.sampler`."""
        self._refuse_empty(split)
        recipe = make_recipe(
            split,
            shares=[[self._shares_of(name)[i] for name in split.tasks] for i in range(len(self.stages) + 1)],
            stages=self.stages,
            repeats=[self.tasks.get(name, Task()).get("repeat") for name in split.tasks],
            by_tokens=self.share_of == "tokens",
            temperature=self.temperature,
            stop=self.stop,
            max_tokens=self.max_tokens,
            stratified_packs=packs_per_step if self.stratified else None,
            look_ahead=self.look_ahead,
            seq_length=self.seq_length,
            one_per_pack=self.padding_mode == "padding",
            seed=seed,
        )
        return Sampler(split, recipe, packs_per_step=packs_per_step, stratified=self.stratified)

    def _refuse_empty(self, split: Split) -> None:
        """Raise UserError for the tasks that a run would not train, though nothing says so."""
        wanted = {name for name in split.tasks if any(share != 0 for share in self._shares_of(name))}
        empty = [name for i, name in enumerate(split.tasks) if name in wanted and not split.num_samples(i)]
        if not empty:
            return
        sources = self.sources(split.cache_dir)
        lines = "\n".join(f"  {name}: {sources[name]}" for name in empty)
        raise UserError(
            f"nothing is left to train on, with all samples held out, of\n{lines}\n"
            "Files named valid or test are held out whole, others by data.data_split unless they are named train: add "
            "records, rename files, or leave a task out with ++data.tasks.<task>.share=0."
        )


def name_faults(names: Sequence[str]) -> Iterator[str]:
    """Why files cannot be named after these tasks, on any file system."""
    for name in dict.fromkeys(names):
        if "/" in name or name in ("", ".", "..") or not name.isprintable():
            yield f"task {name!r}: its name becomes part of files' names; take one of printable characters without '/'"
        if len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES:
            yield f"task {name[:40]}…: a name of {len(name.encode('utf-8', 'replace'))} bytes; at most {MAX_NAME_BYTES}"
    folded: dict[str, set[str]] = {}
    for name in names:
        folded.setdefault(name.casefold(), set()).add(name)
    for alike in folded.values():
        if len(alike) > 1:
            yield f"tasks {', '.join(sorted(alike))}: names that differ in case alone are one file on some systems"
