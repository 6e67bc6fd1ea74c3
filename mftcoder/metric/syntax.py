"""Answers that are code which parses."""

from __future__ import annotations

import ast
import textwrap
import warnings
from collections.abc import Sequence
from typing import Literal

from mftcoder.metric.base import Answered, Array, Metric, over_answers
from mftcoder.metric.fences import unfenced


class Syntax(Metric):
    """The part of answers that parse as Python: a module, or the rest of a function's body; not empty.

    Args:
        language: python, the language of this interpreter.
    """

    def __init__(self, *, language: Literal["python"]) -> None:
        self.language = language

    def measure(self, samples: Sequence[Answered]) -> Array:
        """[n, 2]: the part of each sample's answers that parse, and 1."""
        return over_answers(samples, lambda answer, _: parses(unfenced(answer)))


def parses(code: str) -> bool:
    """Whether the text is a Python module, or continues the body of a function, and is more than remarks."""
    if all(line.strip()[:1] in ("", "#") for line in code.splitlines()):
        return False
    return any(map(_is_module, (textwrap.dedent(code), f"def _():\n    0\n{code}", f"def _():\n    {code}")))


def _is_module(code: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # An invalid escape is no error.
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
