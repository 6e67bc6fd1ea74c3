"""Answers of the model to a few validation prompts, before and after training: numbers alone convince nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mftcoder.core.batch import Sample
from mftcoder.core.plan import Plan
from mftcoder.data.corpus import Corpus
from mftcoder.engine.base import Engine

CANDIDATES = 64


@dataclass
class Samples:
    """Writes answers to plan.sample_generations validation prompts of each task into run_dir/samples.jsonl, on rank 0.

    One object a line: step, task, prompt, reference, answer. Greedy, up to plan.sample_tokens tokens. Does nothing
    where the model is spread over several ranks that would all have to take part.
    """

    engine: Engine
    net: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    corpus: Corpus
    plan: Plan
    run_dir: Path

    def write(self, step: int) -> None:
        """Answer the prompts as the model is after `step`."""
        if self.plan.sample_generations == 0 or self.engine.rank > 0 or self.engine.sharded:
            return
        was_training = self.net.training
        self.net.eval()
        with (self.run_dir / "samples.jsonl").open("a", encoding="utf-8") as file:
            for sample in self._chosen():
                file.write(json.dumps({"step": step, **self._answer(sample)}, ensure_ascii=False) + "\n")
        self.net.train(was_training)

    def _chosen(self) -> Iterator[Sample]:
        """The shortest of the first samples of each task, whose first answer begins after a prompt."""
        for task in range(self.corpus.valid.num_tasks):
            lengths = self.corpus.valid.lengths(task)[:CANDIDATES]
            for index in np.argsort(lengths, kind="stable")[: self.plan.sample_generations]:
                yield self.corpus.valid.sample(task, int(index))

    @torch.no_grad()
    def _answer(self, sample: Sample) -> dict[str, Any]:
        start = int(np.argmax(sample.supervised))
        rest = np.flatnonzero(~sample.supervised[start:])
        end = start + int(rest[0]) if len(rest) else len(sample)
        prompt = torch.from_numpy(sample.ids[:start].astype(np.int64))[None].to(self.net.device)
        output = self.net.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=self.plan.sample_tokens,
            do_sample=False,
            use_cache=True,
            pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=self.tokenizer.eos_token_id,
        )
        decode = self.tokenizer.decode
        return {
            "task": self.corpus.tasks[sample.task],
            "prompt": decode(sample.ids[:start].tolist()),
            "reference": decode(sample.ids[start:end].tolist(), skip_special_tokens=True),
            "answer": decode(output[0, start:].tolist(), skip_special_tokens=True),
        }
