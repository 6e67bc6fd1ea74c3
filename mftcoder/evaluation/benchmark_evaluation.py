"""One model at the problems of a benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mftcoder.benchmark.base import Benchmark, Problem
from mftcoder.core.dialogue import Dialogue, Turn
from mftcoder.data.tokens.encoding import encode_prompt
from mftcoder.evaluation.answering import Answerer, PreparedModel
from mftcoder.metric.base import Answered, Metric
from mftcoder.metric.fences import unfenced
from mftcoder.model.generation import Prompt
from mftcoder.template.base import Template


@dataclass(frozen=True, kw_only=True)
class BenchmarkEvaluation:
    """The problems of a benchmark, the same for every model.

    Args:
        benchmark: whose problems are asked.
        template: of dialogues, for benchmarks that ask by it.
        metrics: by the benchmark's name, and by their own.
    """

    benchmark: Benchmark
    template: Template
    metrics: Mapping[str, Mapping[str, Metric]]
    noun: str = "problems"

    @property
    def title(self) -> str:
        """What it is called."""
        return self.benchmark.name

    @cached_property
    def problems(self) -> list[Problem]:
        """All of them."""
        return self.benchmark.problems()

    def run(self, model: PreparedModel) -> list[Answered]:
        """The answers to all problems; on rank 0, and nothing elsewhere."""
        prompts = [self._prompt(problem, model.answerer) for problem in self.problems]
        answers = model.answerer.answer(prompts, self.benchmark.name)
        return [
            Answered(
                task=self.benchmark.name,
                key=problem.key,
                prompt=problem.prompt,
                reference=problem.reference,
                answers=said,
            )
            for problem, said in zip(self.problems, answers, strict=True)
            if said
        ]

    def programs(self, samples: Sequence[Answered]) -> list[list[str]]:
        """The program of each answer, with its tests."""
        known = {problem.key: problem for problem in self.problems}
        raw = self.benchmark.prompting == "raw"
        return [[program(known[s.key], answer, raw=raw) for answer in s.answers] for s in samples]

    def _prompt(self, problem: Problem, answerer: Answerer) -> Prompt:
        if self.benchmark.prompting == "raw":
            ids = answerer.tokenizer(problem.prompt)["input_ids"]
            return np.array(ids, dtype=np.int32)
        words = self.benchmark.instruction.replace("{prompt}", problem.prompt.rstrip("\n"))
        return encode_prompt(Dialogue((Turn("user", words),), problem.key), self.template, answerer.tokenizer)


def program(problem: Problem, answer: str, *, raw: bool) -> str:
    """The program that an answer stands for, with its tests.

    Args:
        problem: which is answered.
        answer: with raw, a continuation of the prompt; otherwise words, with code in a block.
        raw: see Benchmark.prompting.
    """
    if raw:
        return f"{problem.prompt}{answer}\n{problem.tests}"
    code = unfenced(answer)
    continues = problem.entry_point is not None and f"def {problem.entry_point}" not in code
    # Otherwise the prompt, whose function has its docstring for a body, gives the imports, and the answer replaces it.
    return f"{problem.prompt}{code}\n{problem.tests}" if continues else f"{problem.prompt}\n\n{code}\n{problem.tests}"
