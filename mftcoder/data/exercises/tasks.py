"""Five tasks made of functions: each a question in one fixed form, and its answer."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mftcoder.data.exercises.functions import Definition, Function, parse
from mftcoder.data.exercises.mutation import mutate

TASKS = ("bug_repair", "text_to_code", "code_completion", "test_writing", "docstring_writing")
LONGEST_TEST = 1600  # characters of a test


@dataclass(frozen=True, slots=True)
class Exercise:
    """A question and its answer about a function of `package`."""

    package: str
    question: str
    answer: str


def exercises(functions: list[Function], tests: Path) -> dict[str, list[Exercise]]:
    """All tasks by name. tests: the directory of the library's own tests, which may be missing."""
    made = (
        bug_repair(functions),
        text_to_code(functions),
        code_completion(functions),
        test_writing(functions, tests),
        docstring_writing(functions),
    )
    return {name: list(task) for name, task in zip(TASKS, made, strict=True)}


def code(source: str) -> str:
    """`source` in a fence."""
    return f"```python\n{source.rstrip()}\n```"


def bug_repair(functions: list[Function]) -> Iterator[Exercise]:
    """From a function with one bug, write the function without it."""
    for f in functions:
        short = 4 <= len(f.source.splitlines()) <= 30
        if short and (mutant := mutate(f.source)):
            question = f"This Python function has a bug. Write it without the bug.\n\n{code(mutant)}"
            yield Exercise(f.package, question, code(f.source))


def text_to_code(functions: list[Function]) -> Iterator[Exercise]:
    """From a signature and a docstring, write the function."""
    for f in functions:
        if len(f.doc) >= 20:
            yield Exercise(f.package, f"Write the Python function `{f.signature}`.\n\n{f.doc}", code(f.source))


def code_completion(functions: list[Function]) -> Iterator[Exercise]:
    """From the first half of the lines of a function of eight or more, write the rest."""
    for f in functions:
        lines = f.source.splitlines()
        half = f.body + (len(lines) - f.body) // 2
        start, rest = "\n".join(lines[:half]), "\n".join(lines[half:])
        if len(lines) - f.body >= 8:
            yield Exercise(f.package, f"Complete this Python function.\n\n{code(start)}", code(rest.lstrip("\n")))


def docstring_writing(functions: list[Function]) -> Iterator[Exercise]:
    """From a function, write its docstring; only of docstrings that are longer than a line."""
    for f in functions:
        if len(f.doc) >= 100:
            yield Exercise(f.package, f"Write a docstring for this Python function.\n\n{code(f.source)}", f.doc)


def test_writing(functions: list[Function], tests: Path) -> Iterator[Exercise]:
    """From a signature and what it does, write a test: doctests of docstrings, and methods of the library's tests."""
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
    """The test methods of one file that call a documented function of the package, and are named after it."""
    source, tree = parse(path)
    lines = source.splitlines()
    owners = (node for node in tree.body if isinstance(node, ast.ClassDef))
    methods = (node for owner in owners for node in owner.body if isinstance(node, Definition))
    for test, tested in ((test, target(test, documented)) for test in methods):
        text = textwrap.dedent("\n".join(lines[test.lineno - 1 : test.end_lineno]))
        if tested and len(text) <= LONGEST_TEST:
            summary = tested.doc.split("\n\n")[0]
            question = f"Write a unit test for `{tested.signature}`.\n\n{summary}"
            yield Exercise(tested.package, question, code(text))


def target(test: Definition, documented: dict[str, Function]) -> Function | None:
    """The first documented function that `test` calls and has in its name, if it is a test."""
    called = (
        node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        for node in ast.walk(test)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name)
    )
    named = (documented[name] for name in called if name in documented and name.strip("_") in test.name)
    return next(named, None) if test.name.startswith("test") else None
