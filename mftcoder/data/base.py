"""The contract of all data: records to a corpus of tokens, and a corpus to the stream of packs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from mftcoder.data.corpus.tables import Corpus, Split
from mftcoder.data.stream.collate import PaddingMode
from mftcoder.data.stream.sampler import Sampler
from mftcoder.template.base import Template


class Data(ABC):
    """What a run learns from.

    seq_length: the most tokens of a sample and of a pack. padding_mode: pack, whole dialogues packed up to seq_length;
    padding, each dialogue by itself; concat, the dialogues of a task end to end and cut every seq_length tokens.
    """

    seq_length: int
    padding_mode: PaddingMode

    @abstractmethod
    def load(self, *, tokenizer: PreTrainedTokenizerBase, template: Template, seed: int, cache_dir: Path) -> Corpus:
        """All tasks as tokens, from the cache or made now; `seed` decides what is held out where files do not say."""

    @abstractmethod
    def sampler(self, split: Split, *, packs_per_step: int, seed: int) -> Sampler:
        """The endless stream of packs of `split`, the same on every rank."""
