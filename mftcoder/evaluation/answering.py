"""The model's answers to the questions of held-out samples."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mftcoder.engine.base import Engine
from mftcoder.model.forward.loss_model import LossModel
from mftcoder.model.generation import Decoding, Prompt, complete
from mftcoder.system.progress_bar import progress


@dataclass(frozen=True, kw_only=True)
class Answerer:
    """Answers prompts on all processes, each its share.

    Args:
        engine: says which process this is.
        net: the model.
        tokenizer: of the prompts.
        decoding: how tokens are chosen.
        num_return_sequences: answers to each prompt.
        batch_size: prompts answered at the same time.
        ends: tokens that end an answer, besides those of tokenizer and model.
        stop: texts that end an answer, which is cut off before the first of them.
    """

    engine: Engine
    net: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    decoding: Decoding
    num_return_sequences: int
    batch_size: int
    ends: Collection[str]
    stop: Sequence[str] = ()

    def answer(self, prompts: Sequence[Prompt], shown: str) -> list[list[str]]:
        """The answers to each prompt, in order; on rank 0, and nothing elsewhere.

        Args:
            prompts: token ids [n] each.
            shown: beside the bar that shows how far it is.
        """
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # The less a batch is padded, the faster.
        asked = [i for i in order for _ in range(self.num_return_sequences)]
        batches = [asked[start : start + self.batch_size] for start in range(0, len(asked), self.batch_size)]
        own = batches[self.engine.rank :: self.engine.world_size]
        with progress(transient=True) as bar:
            task = bar.add_task(shown, total=len(own))
            found = []
            for batch in own:
                found.append((batch, self._complete([prompts[i] for i in batch])))
                bar.advance(task)
        answers: list[list[str]] = [[] for _ in prompts]
        for part in self.engine.gather(found):
            for batch, texts in part:
                for i, text in zip(batch, texts, strict=True):
                    answers[i].append(text)
        return answers

    def _complete(self, prompts: Sequence[Prompt]) -> list[str]:
        with self.engine.autocast():
            texts = complete(self.net, self.tokenizer, prompts, self.decoding, ends=self.ends, stop=self.stop)
        return [cut(text, self.stop) for text in texts]


class PreparedModel(NamedTuple):
    """A model that is ready to be evaluated.

    Attributes:
        answerer: writes its answers.
        loss_model: gives its losses; None where no losses are taken.
    """

    answerer: Answerer
    loss_model: LossModel | None


def cut(text: str, stop: Sequence[str]) -> str:
    """The text before the first of the stop sequences."""
    found = [at for at in map(text.find, stop) if at >= 0]
    return text[: min(found)] if found else text
