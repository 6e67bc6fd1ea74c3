"""Five tasks made of functions: each a question in one fixed form, and its answer."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mftcoder.data.functions import Definition, Function, parse
from mftcoder.data.mutation import mutate

LONGEST_TEST = 1600  # characters of a test


@dataclass(frozen=True, slots=True)
class Exercise:
    """A question and its answer about a function of `package`."""

    package: str
    question: str
    answer: str


def code(source: str) -> str:
    """`source` in a fence."""
    return f"```python\n{source.strip()}\n```"


def text_to_code(functions: list[Function]) -> Iterator[Exercise]:
    """From a signature and a docstring, write the function."""
    for f in functions:
        if len(f.doc) >= 20:
            yield Exercise(f.package, f"Write the Python function `{f.signature}`.\n\n{f.doc}", code(f.source))


def docstring_writing(functions: list[Function]) -> Iterator[Exercise]:
    """From a function, write its docstring; only docstrings that say more than a line can."""
    for f in functions:
        if len(f.doc) >= 60:
            yield Exercise(f.package, f"Write a docstring for this Python function.\n\n{code(f.source)}", f.doc)


def code_completion(functions: list[Function]) -> Iterator[Exercise]:
    """From the first half of a function's lines, write the rest."""
    for f in functions:
        lines = f.source.splitlines()
        half = f.body + (len(lines) - f.body) // 2
        if len(lines) - f.body >= 6 and "".join(lines[half:]).strip():
            start, rest = "\n".join(lines[:half]), "\n".join(lines[half:])
            yield Exercise(
                f.package, f"Complete this Python function.\n\n{code(start)}", f"```python\n{rest.rstrip()}\n```"
            )


def bug_repair(functions: list[Function]) -> Iterator[Exercise]:
    """From a function with one bug, write the function without it."""
    for f in functions:
        short = 4 <= len(f.source.splitlines()) <= 30
        mutant = mutate(f.source) if short else None
        if mutant:
            yield Exercise(
                f.package, f"This Python function has a bug. Write it without.\n\n{code(mutant)}", code(f.source)
            )


def test_writing(functions: list[Function], tests: Path) -> Iterator[Exercise]:
    """From a signature and what it does, write a test: doctests of docstrings, and methods of Lib/test where it is."""
    yield from doctests(functions)
    documented: dict[str, dict[str, Function]] = {}
    for f in functions:
        if f.doc:
            documented.setdefault(f.package, {}).setdefault(f.name.split(".")[-1], f)
    for path in sorted(tests.rglob("test_*.py")):
        package = path.relative_to(tests).parts[0].removesuffix(".py").removeprefix("test_")
        if package in documented:
            yield from unit_tests(path, documented[package])


def doctests(functions: list[Function]) -> Iterator[Exercise]:
    """The examples of each docstring that has any."""
    for f in functions:
        before, prompt, after = f.doc.partition(">>> ")
        if prompt and before.strip():
            question = f"Write a doctest for `{f.signature}`.\n\n{before.strip()}"
            yield Exercise(f.package, question, code(textwrap.dedent(prompt + after)))


def unit_tests(path: Path, documented: dict[str, Function]) -> Iterator[Exercise]:
    """The test methods of one file that call a documented function of the package."""
    source, tree = parse(path)
    lines = source.splitlines()
    for owner in tree.body:
        if not isinstance(owner, ast.ClassDef):
            continue
        for node in owner.body:
            if isinstance(node, Definition) and node.name.startswith("test"):
                tested = target(node, documented)
                text = textwrap.dedent("\n".join(lines[node.lineno - 1 : node.end_lineno]))
                if tested and len(text) <= LONGEST_TEST:
                    question = f"Write a unit test for `{tested.signature}`.\n\n{tested.doc.split(chr(10) * 2)[0]}"
                    yield Exercise(tested.package, question, code(text))


def target(test: Definition, documented: dict[str, Function]) -> Function | None:
    """The documented function that `test` calls: one that its name mentions, or else the first."""
    called = [
        node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        for node in ast.walk(test)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name)
    ]
    known = [name for name in called if name in documented and not name.startswith("_")]
    named = [name for name in known if name in test.name]
    return documented[(named or known)[0]] if known else None


def exercises(functions: list[Function], tests: Path) -> dict[str, list[Exercise]]:
    """All tasks by name. tests: the directory of the library's own tests, which may be missing."""
    makers: list[Callable[[list[Function]], Iterator[Exercise]]] = [
        code_completion,
        bug_repair,
        text_to_code,
        docstring_writing,
    ]
    tasks = {maker.__name__: list(maker(functions)) for maker in makers}
    return {**tasks, "test_writing": list(test_writing(functions, tests))}
