"""The contract of all benchmarks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem.

    Args:
        key: its name, as "HumanEval/0".
        prompt: Python text that the model continues: imports and a signature with its docstring, or a docstring alone.
        tests: Python text that raises where a program before it is wrong.
        entry_point: the function that the tests call, None where they do not say.
        reference: a solution that continues the prompt, "" where there is none.
    """

    key: str
    prompt: str
    tests: str
    entry_point: str | None
    reference: str


class Benchmark(ABC):
    """Problems, and how a model is asked to solve them.

    name: what its results are called.
    prompting: raw, the model continues the prompt; template, it is asked as in a dialogue.
    instruction: with template, the words around the prompt, in place of {prompt}.
    stop: with raw, texts before the first of which a continuation is cut off.
    """

    name: str
    prompting: Literal["raw", "template"]
    instruction: str
    stop: list[str]

    @abstractmethod
    def problems(self) -> list[Problem]:
        """All that are to be solved, in their order."""


def check_instruction(instruction: str, limit: int | None) -> None:
    """Raise ValueError for an instruction without its prompt, or a limit below 1."""
    if "{prompt}" not in instruction:
        raise ValueError(f"instruction: {instruction!r} does not say where the problem goes; expected {{prompt}} in it")
    if limit is not None and limit < 1:
        raise ValueError(f"limit: {limit} is below 1; null is all problems")
