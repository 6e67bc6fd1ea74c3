"""Problems from a file of HumanEval's, MBPP's or EvalPlus' shape."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from mftcoder.benchmark.base import Benchmark, Problem, check_instruction
from mftcoder.core.errors import UserError, raise_faults

HUMAN_EVAL = ("task_id", "prompt", "test", "entry_point")
MBPP = ("task_id", "test_list")


class ProblemFile(Benchmark):
    """JSON lines, also gzipped, of either shape; EvalPlus' files have one of the two.

    HumanEval: task_id, prompt, test (which defines check), entry_point, canonical_solution. MBPP: task_id, text or
    prompt, test_list, test_setup_code or test_imports, code; where it has a longer `test` too, that is taken.

    Args:
        path: of the file.
        limit: only the first so many.
        prompting: raw, or template.
        instruction: with template.
        stop: with raw.

    Raises:
        ValueError: where the instruction has no {prompt}, or the limit is below 1.
    """

    def __init__(
        self,
        *,
        path: str,
        limit: int | None,
        prompting: Literal["raw", "template"],
        instruction: str,
        stop: list[str],
    ) -> None:
        check_instruction(instruction, limit)
        self.name = Path(path).name.split(".")[0]
        self.path = Path(path)
        self.limit, self.prompting, self.instruction, self.stop = limit, prompting, instruction, stop

    def problems(self) -> list[Problem]:
        """See Benchmark.problems.

        Raises:
            UserError: where there is no such file, or for all lines that are no problem.
        """
        if not self.path.is_file():
            raise UserError(f"benchmark.path={self.path}: no such file; expected JSON lines with a problem each")
        found, faults = [], []
        for number, line in enumerate(lines(self.path), start=1):
            try:
                found.append(problem(json.loads(line)))
            except ValueError as error:
                faults.append(f"{self.path}:{number}: {error}")
        raise_faults(faults)
        if len({one.key for one in found}) < len(found):
            raise UserError(f"benchmark.path={self.path}: two problems have one task_id; give each its own")
        return found[: self.limit]


def lines(path: Path) -> Iterator[str]:
    """The lines that are not empty."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        yield from (line for line in file if line.strip())


def problem(record: Any) -> Problem:
    """One record of either shape; ValueError says what it lacks."""
    if not isinstance(record, dict):
        raise ValueError(f"a JSON {type(record).__name__}; expected an object")
    if record.keys() >= set(HUMAN_EVAL):
        tests = f"{record['test']}\ncheck({record['entry_point']})"
        return _problem(record, prompt=record["prompt"], tests=tests, reference=record.get("canonical_solution", ""))
    if record.keys() >= set(MBPP) and ("text" in record or "prompt" in record):
        shown = "\n".join(record["test_list"])
        setup = [record.get("test_setup_code") or "", *(record.get("test_imports") or [])]
        prompt = f'"""\n{record.get("text") or record["prompt"]}\n{shown}\n"""\n'
        tests = "\n".join([*setup, record.get("test") or shown])
        return _problem(record, prompt=prompt, tests=tests, reference=record.get("code", ""))
    raise ValueError(
        f"its keys ({', '.join(map(str, record))}) are no problem's; expected {', '.join(HUMAN_EVAL)} "
        "(HumanEval, EvalPlus), or task_id, text and test_list (MBPP)"
    )


def _problem(record: dict[str, Any], *, prompt: str, tests: str, reference: str) -> Problem:
    return Problem(
        key=str(record["task_id"]),
        prompt=prompt,
        tests=tests,
        entry_point=record.get("entry_point"),
        reference=reference,
    )
