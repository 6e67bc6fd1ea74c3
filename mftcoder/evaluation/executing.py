"""Answers that are run: with the tests of a benchmark, or with those that stand in the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from mftcoder.core.errors import UserError
from mftcoder.data.mixture import Mixture
from mftcoder.data.records.faults import Fault
from mftcoder.data.records.parsing import parse
from mftcoder.data.tokens.tokenise import content_key
from mftcoder.evaluation.held_out import Reference
from mftcoder.metric.base import Answered
from mftcoder.metric.fences import unfenced
from mftcoder.sandbox.sandbox import Sandbox


def executed(samples: Sequence[Answered], programs: Sequence[Sequence[str]], sandbox: Sandbox) -> list[Answered]:
    """The samples, with what became of the programs of their answers.

    Args:
        samples: with answers.
        programs: of each sample, one for each answer, or none.
        sandbox: where they run.
    """
    outcomes = iter(sandbox.outcomes(list(chain.from_iterable(programs))))
    found = []
    for sample, own in zip(samples, programs, strict=True):
        ended = [next(outcomes) for _ in own]
        found.append(replace(sample, passed=[o.passed for o in ended], outcomes=[o.reason for o in ended]))
    return found


def with_tests(samples: Sequence[Answered], tests: Mapping[tuple[str, str], str]) -> list[list[str]]:
    """The program of each answer whose record has tests: its code, then the tests.

    Args:
        samples: of any tasks.
        tests: by task and key.
    """
    own = [tests.get((sample.task, sample.key)) for sample in samples]
    return [
        [] if test is None else [f"{unfenced(answer)}\n{test}" for answer in sample.answers]
        for sample, test in zip(samples, own, strict=True)
    ]


def record_tests(
    data: Mixture, tasks: Sequence[str], keys: Mapping[int, Reference], cache_dir: Path
) -> dict[tuple[str, str], str]:
    """The tests that stand in the records of held-out samples, by task and key.

    A record's tests are under `tests`, `test` or `test_list`: text, or a list of statements; with `entry_point`, they
    define check, which is called with it.

    Args:
        data: where the records are.
        tasks: names in the order of their ids.
        keys: held-out samples, by the hash of their content.
        cache_dir: of data that are made.
    """
    found: dict[tuple[str, str], str] = {}
    for task, source in data.sources(cache_dir).items():
        unread: list[Fault] = []
        for _, origin, record in source.records(None, unread):
            if (test := statements_of(record, origin)) is None:
                continue
            example = parse(record, origin, format=source.format, columns=source.columns)
            reference = keys.get(content_key(example)) if not hasattr(example, "chosen") else None
            if reference is not None and tasks[reference[0]] == task:
                found[task, str(reference[1])] = test
    return found


def statements_of(record: Mapping[str, Any], origin: str) -> str | None:
    """The tests of one record, as one text. Raises UserError where they are no text."""
    value = next((record[name] for name in ("tests", "test", "test_list") if record.get(name)), None)
    if value is None:
        return None
    statements = [value] if isinstance(value, str) else value
    if not isinstance(statements, list) or not all(isinstance(line, str) for line in statements):
        raise UserError(f"{origin}: tests: {str(value)[:80]!r}; expected a text, or a list of statements")
    call = f"\ncheck({record['entry_point']})" if isinstance(record.get("entry_point"), str) else ""
    return "\n".join(statements) + call
