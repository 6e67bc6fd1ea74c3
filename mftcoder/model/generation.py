"""Lets a model continue prompts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, TextStreamer

from mftcoder.core.errors import raise_faults

Prompt = NDArray[np.int32]  # [n] token ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How tokens are chosen.

    Args:
        max_new_tokens: the longest answer.
        do_sample: draw each token; else take the likeliest.
        temperature: divides the logits before a draw; below 1, likely tokens become likelier.
        top_p: draw from the fewest likeliest tokens whose probabilities reach this sum.
        num_beams: answers that are followed at the same time.
        repetition_penalty: above 1, tokens that came before become less likely.

    Raises:
        ValueError: names everything that is out of range.
    """

    max_new_tokens: int
    do_sample: bool
    temperature: float
    top_p: float
    num_beams: int
    repetition_penalty: float

    def __post_init__(self) -> None:
        wanted = [
            ("max_new_tokens", self.max_new_tokens >= 1, "at least 1"),
            ("temperature", self.temperature > 0, "above 0; do_sample=false takes the likeliest token"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("num_beams", self.num_beams >= 1, "at least 1"),
            ("repetition_penalty", self.repetition_penalty > 0, "above 0; 1 is none"),
        ]
        raise_faults(
            [f"{name}: {getattr(self, name)} is not {rule}" for name, fine, rule in wanted if not fine], ValueError
        )

    def config(
        self, net: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, ends: Collection[str]
    ) -> GenerationConfig:
        """The same for transformers; answers end with any of `end_ids`."""
        sampling: dict[str, Any] = {"temperature": self.temperature, "top_p": self.top_p, "top_k": 0}
        return GenerationConfig(
            max_new_tokens=self.max_new_tokens,
            do_sample=self.do_sample,
            num_beams=self.num_beams,
            repetition_penalty=self.repetition_penalty,
            use_cache=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=end_ids(net, tokenizer, ends),
            **(sampling if self.do_sample else {}),
        )


def end_ids(net: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, ends: Collection[str]) -> list[int]:
    """The sorted ids of all tokens that end an answer: those of the tokenizer, of the model, and the tokens `ends`."""
    own = net.generation_config.eos_token_id
    ids = {tokenizer.eos_token_id, *np.atleast_1d([] if own is None else own).tolist()}
    return sorted(ids.union(tokenizer.convert_tokens_to_ids(list(ends))))


def complete(
    net: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    decoding: Decoding,
    *,
    ends: Collection[str] = (),
    stop: Collection[str] = (),
    streamer: TextStreamer | None = None,
) -> list[str]:
    """The model's answers, as one batch, without special tokens.

    Prompts of different lengths are padded on the left, and the padding is masked.

    Args:
        prompts: token ids of each prompt.
        ends: tokens that end an answer, besides those of tokenizer and model.
        stop: texts after any of which no more is written.
        streamer: gets the tokens of a single prompt as they are chosen, but not with several beams.
    """
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), tokenizer.pad_token_id, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.from_numpy(prompt.astype(np.int64))
        mask[row, width - len(prompt) :] = 1
    settings = decoding.config(net, tokenizer, ends)
    settings.stop_strings = list(stop) or None
    with _evaluating(net):
        output = net.generate(
            ids.to(net.device),
            attention_mask=mask.to(net.device),
            generation_config=settings,
            **({"tokenizer": tokenizer} if stop else {}),
            streamer=streamer,
        )
    return cast("list[str]", tokenizer.batch_decode(cast(Tensor, output)[:, width:], skip_special_tokens=True))


@contextmanager
def _evaluating(net: PreTrainedModel | PeftModel) -> Iterator[None]:
    was_training = net.training
    net.eval()
    try:
        # Compiled layers are for whole rows: growing caches would have them compiled again and again.
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        net.train(was_training)
