"""The contract of all data: from records to a corpus of tokens, and from a corpus to the stream of packs."""

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

    Attributes:
        seq_length: most tokens of a sample, and of a pack.
        padding_mode: pack, whole dialogues packed up to seq_length; padding, one dialogue a row; concat, the
            dialogues of a task end to end, cut every seq_length tokens.
    """

    seq_length: int
    padding_mode: PaddingMode

    @abstractmethod
    def load(self, *, tokenizer: PreTrainedTokenizerBase, template: Template, cache_dir: Path) -> Corpus:
        """All tasks as tokens, from the cache or made now.

        Args:
            tokenizer: of the model.
            template: renders the dialogues.
            cache_dir: directory of the cache, which runs may share.

        Raises:
            UserError: records cannot be used, or nothing is left of a task.
        """

    @abstractmethod
    def sampler(self, split: Split, *, packs_per_step: int, seed: int) -> Sampler:
        """The endless stream of packs of a split, the same on every rank.

        Args:
            split: of the corpus that `load` returned.
            packs_per_step: over all ranks and accumulation steps.
            seed: of the shuffle.

        Raises:
            UserError: a task that has a share has no sample.
        """
