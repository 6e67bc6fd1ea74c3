"""Answers of the model to a few validation prompts, before and after training: numbers alone convince nobody."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mftcoder.core.batch import Sample
from mftcoder.core.errors import Interrupted
from mftcoder.data.corpus.tables import Corpus
from mftcoder.engine.base import Engine
from mftcoder.model.generation import Decoding, complete
from mftcoder.training.settings import AnswerSettings

CANDIDATES = 64


@dataclass
class Answers:
    """Writes the model's answers to a few validation prompts of each task into run_dir/samples.jsonl, on rank 0.

    One object a line: step, task, prompt, reference, answer. Does nothing where the model is sharded over several
    ranks, which would all have to take part.

    Args:
        engine: in whose precision the model answers.
        net: the model with its adapter.
        tokenizer: the model's.
        ends: strings that end an answer.
        corpus: of whose validation split the shortest of the first samples are asked.
        settings: how many prompts, and the most tokens of an answer, decoded greedily.
        run_dir: of the run.
    """

    engine: Engine
    net: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    ends: Collection[str]
    corpus: Corpus
    settings: AnswerSettings
    run_dir: Path

    def write(self, step: int, asked: Callable[[], bool]) -> None:
        """Answer the prompts as the model is after `step`; not where asked(), before each token, says to stop."""
        if self.settings.sample_generations == 0 or self.engine.rank > 0 or self.engine.sharded:
            return

        def check(*_: object) -> None:
            if asked():
                raise Interrupted

        with suppress(Interrupted), self.net.get_input_embeddings().register_forward_pre_hook(check):
            self._write(step)

    def _write(self, step: int) -> None:
        questions = [(sample, *_first_answer(sample)) for sample in self._chosen()]
        prompts = [sample.ids[:start] for sample, start, _ in questions]
        decoding = Decoding(
            max_new_tokens=self.settings.sample_tokens,
            do_sample=False,
            temperature=1.0,
            top_p=1.0,
            num_beams=1,
            repetition_penalty=1.0,
        )
        with self.engine.autocast():
            answers = complete(self.net, self.tokenizer, prompts, decoding, ends=self.ends)
        with (self.run_dir / "samples.jsonl").open("a" if step else "w", encoding="utf-8") as file:
            for (sample, start, end), answer in zip(questions, answers, strict=True):
                line = {"step": step, **self._words(sample, start, end), "answer": answer}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _chosen(self) -> Iterator[Sample]:
        """The shortest of the first samples of each task."""
        valid = self.corpus.valid
        for task in range(valid.num_tasks):
            answered = np.flatnonzero(valid.supervised(task)[:CANDIDATES])
            by_length = answered[np.argsort(valid.lengths(task)[answered], kind="stable")]
            for index in by_length[: self.settings.sample_generations]:
                yield valid.sample(task, int(index))

    def _words(self, sample: Sample, start: int, end: int) -> dict[str, Any]:
        decode = self.tokenizer.decode
        return {
            "task": self.corpus.tasks[sample.task],
            "prompt": decode(sample.ids[:start].tolist()),
            "reference": decode(sample.ids[start:end].tolist(), skip_special_tokens=True),
        }


def _first_answer(sample: Sample) -> tuple[int, int]:
    """Where the first run of targets begins and ends."""
    start = int(np.argmax(sample.supervised))
    rest = np.flatnonzero(~sample.supervised[start:])
    return start, start + int(rest[0]) if len(rest) else len(sample)
