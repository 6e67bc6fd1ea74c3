"""Answers of the model to a few validation prompts, before and after training: numbers alone convince nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mftcoder.core.batch import Sample
from mftcoder.data.corpus import Split

CANDIDATES = 64


@dataclass(kw_only=True)
class Samples:
    """Writes answers to `per_task` prompts of each task of `split` into run_dir/samples.jsonl.

    One object a line: step, task, prompt, reference, answer. Greedy, up to max_new_tokens.
    """

    net: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    split: Split
    tasks: Sequence[str]
    per_task: int
    max_new_tokens: int
    run_dir: Path
    active: bool

    def write(self, step: int) -> None:
        """Answer the prompts as the model is after `step`."""
        if not self.active or self.per_task == 0:
            return
        was_training = self.net.training
        self.net.eval()
        with (self.run_dir / "samples.jsonl").open("a", encoding="utf-8") as file:
            for sample in self._chosen():
                file.write(json.dumps({"step": step, **self._answer(sample)}, ensure_ascii=False) + "\n")
        self.net.train(was_training)

    def _chosen(self) -> Iterator[Sample]:
        """The shortest of the first samples of each task, whose first answer begins after a prompt."""
        for task in range(self.split.num_tasks):
            lengths = self.split.lengths(task)[:CANDIDATES]
            for index in np.argsort(lengths, kind="stable")[: self.per_task]:
                yield self.split.sample(task, int(index))

    @torch.no_grad()
    def _answer(self, sample: Sample) -> dict[str, Any]:
        start = int(np.argmax(sample.supervised))
        rest = np.flatnonzero(~sample.supervised[start:])
        end = start + int(rest[0]) if len(rest) else len(sample)
        prompt = torch.from_numpy(sample.ids[:start].astype(np.int64))[None].to(self.net.device)
        output = self.net.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            use_cache=True,
            pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=self.tokenizer.eos_token_id,
        )
        decode = self.tokenizer.decode
        return {
            "task": self.tasks[sample.task],
            "prompt": decode(sample.ids[:start].tolist()),
            "reference": decode(sample.ids[start:end].tolist(), skip_special_tokens=True),
            "answer": decode(output[0, start:].tolist(), skip_special_tokens=True),
        }
