"""From the sources of tasks to a corpus: tokens from the cache or made now, divided into train, valid and test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from mftcoder.core.errors import UserError
from mftcoder.data.corpus import fingerprint
from mftcoder.data.corpus.cache import cached, file_digest, notes
from mftcoder.data.corpus.concat import Concatenated
from mftcoder.data.corpus.held_out import hold_out
from mftcoder.data.corpus.tables import TABLE, Corpus, Split, Table
from mftcoder.data.records.faults import refuse
from mftcoder.data.records.source import SPLITS, Source
from mftcoder.data.tokens.tokenise import QUARANTINE, Tokeniser, tokenise
from mftcoder.data.tokens.too_long import TooLong
from mftcoder.template.base import Template

FATES = ("read", "cut", "split", "dropped", "empty", "malformed")


@dataclass(frozen=True, kw_only=True)
class Loader:
    """Loads tasks; everything that decides their tokens is part of the cache's key.

    Args:
        tokenizer: of the model.
        template: renders the dialogues.
        cache_dir: directory of the cache.
        seq_length: most tokens of a dialogue.
        too_long: what happens to longer ones; None keeps them whole, to be concatenated.
        limit: most samples of a task and split, or None.
        max_quarantined_fraction: of a task's records that may be unusable.
        max_record_bytes: longest record.
        num_workers: processes that tokenise, or None.
    """

    tokenizer: PreTrainedTokenizerBase
    template: Template
    cache_dir: Path
    seq_length: int
    too_long: TooLong | None
    limit: int | None
    max_quarantined_fraction: float
    max_record_bytes: int
    num_workers: int | None

    def corpus(
        self,
        sources: Mapping[str, Source],
        weights: Sequence[float],
        *,
        data_split: Sequence[float],
        split_seed: int,
        concatenate: bool,
    ) -> Corpus:
        """Loads every task and holds out part of it.

        Args:
            sources: the records of each task, by name.
            weights: [T], of the losses.
            data_split: parts of train, valid and test, where a source does not say.
            split_seed: decides what is held out then.
            concatenate: whether samples are windows over running text.

        Raises:
            UserError: records cannot be used, or nothing is left of a task.
        """
        directories = {name: self.tokens(name, source) for name, source in sources.items()}
        tables = [Table(directory) for directory in directories.values()]
        rows = [hold_out(table, data_split, split_seed) for table in tables]
        names = list(sources)
        train, valid, test = (
            Split(names, tables, [task[i][: self.limit] for task in rows], self.cache_dir) for i in range(len(SPLITS))
        )
        if concatenate:
            train, valid, test = (Concatenated(split, self.seq_length) for split in (train, valid, test))
        report = {
            name: {**notes(directory), "quarantine": str(directory / QUARANTINE)}
            for name, directory in directories.items()
        }
        return Corpus(names, list(weights), train, valid, test, report)

    def tokens(self, name: str, source: Source) -> Path:
        """The directory with the tokens of one task, from the cache or made now.

        Raises:
            UserError: records cannot be used, nothing is left, or a file changed while it was read.
        """
        source = replace(source, max_record_bytes=self.max_record_bytes)
        before = contents(source)

        def build(directory: Path) -> dict[str, int]:
            noted = self._build(name, source, directory)
            if changed := [file for file, digest in contents(source).items() if digest != before[file]]:
                raise UserError(
                    f"task {name}: {', '.join(map(str, changed))} changed while it was read; start again once nothing "
                    "writes there"
                )
            return noted

        return cached(self.cache_dir, "tokens", self._key(source, before), build, holds=(TABLE, QUARANTINE))

    def _key(self, source: Source, digests: Mapping[Path, str]) -> dict[str, Any]:
        """Everything that decides the tokens of a task."""
        return {
            "files": [[file.name, source.split_of(file), digest] for file, digest in digests.items()],
            "records": [source.format, dict(source.columns), self.limit, self.max_quarantined_fraction],
            "max_record_bytes": source.max_record_bytes,
            "template": fingerprint.of_template(self.template),
            "tokenizer": fingerprint.of_tokenizer(self.tokenizer),
            "code": fingerprint.of_code(tokenise.__module__),
            "fit": self.too_long and [self.seq_length, self.too_long],
        }

    def _build(self, name: str, source: Source, directory: Path) -> dict[str, int]:
        """Tokenise one task into `directory`; returns how many of its records met which fate."""
        tokeniser = Tokeniser(self.template, self.tokenizer, source, self.seq_length, self.too_long)
        fates, faults = tokenise(tokeniser, directory, name=name, limit=self.limit, num_workers=self.num_workers)
        remedy = f"Mend or remove them, or allow some with data.max_quarantined_fraction (task {name})."
        refuse(faults, rows=fates["read"], max_fraction=self.max_quarantined_fraction, remedy=remedy)
        used = sum(fates[fate] for fate in ("whole", "cut", "split"))
        if not used:
            met = ", ".join(f"{fates[fate]} {fate}" for fate in FATES)
            raise UserError(f"task {name}: nothing to learn is left of its records ({met}); see prepare show=5")
        return {"used": used} | {fate: fates[fate] for fate in FATES}


def contents(source: Source) -> dict[Path, str]:
    """The digest of every file of a source; "gone" if it is no longer there."""
    return {file: file_digest(file) if file.exists() else "gone" for file in source.files}
