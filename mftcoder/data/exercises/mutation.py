"""Small bugs put into working functions: one edit a function, chosen by the function's own hash."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import pairwise

from mftcoder.data.exercises.functions import Definition, syntax

Edit = tuple[int, int, str]  # replace the bytes [start, end) of the source by a text
Span = Callable[[ast.AST], tuple[int, int]]
Operator = Callable[[list[ast.AST], bytes, Span], Iterator[Edit]]

COMPARISONS = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==",
    "is": "is not", "is not": "is", "in": "not in", "not in": "in",
}  # fmt: skip
ARITHMETIC = {"+": "-", "-": "+", "*": "+", "/": "*", "//": "/", "%": "//", "<<": ">>", ">>": "<<", "&": "|", "|": "&"}
BOOLEANS = {"and": "or", "or": "and"}


def mutate(source: str) -> str | None:
    """`source`, one function, with one bug: the same for the same source. None if there is nothing to break."""
    tree = syntax(source)
    nodes = list(ast.walk(tree)) if tree else []
    data = source.encode()
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def span(node: ast.AST) -> tuple[int, int]:
        where = [getattr(node, key) for key in ("lineno", "col_offset", "end_lineno", "end_col_offset")]
        return starts[where[0] - 1] + where[1], starts[where[2] - 1] + where[3]

    sites = [edits for operator in OPERATORS if (edits := list(operator(nodes, data, span)))]
    choice = int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
    for turn in range(len(sites)):
        edits = sites[(choice + turn) % len(sites)]
        start, end, text = edits[choice // len(sites) % len(edits)]
        mutant = (data[:start] + text.encode() + data[end:]).decode()
        if mutant != source and syntax(mutant):
            return mutant
    return None


def between(data: bytes, start: int, end: int, words: dict[str, str]) -> Iterator[Edit]:
    """The exchange of the operator that stands alone in data[start:end]."""
    text = data[start:end].decode()
    operator = re.sub(r"\s+", " ", text.strip())
    if operator in words:
        at = start + len(text[: len(text) - len(text.lstrip())].encode())
        yield at, at + len(text.strip().encode()), words[operator]


def comparisons(nodes: list[ast.AST], data: bytes, span: Span) -> Iterator[Edit]:
    """a < b becomes a <= b, `in` becomes `not in`, and the like."""
    for node in nodes:
        if isinstance(node, ast.Compare):
            for left, right in pairwise([node.left, *node.comparators]):
                yield from between(data, span(left)[1], span(right)[0], COMPARISONS)


def arithmetic(nodes: list[ast.AST], data: bytes, span: Span) -> Iterator[Edit]:
    """a + b becomes a - b, and the like."""
    for node in nodes:
        if isinstance(node, ast.BinOp):
            yield from between(data, span(node.left)[1], span(node.right)[0], ARITHMETIC)


def connectives(nodes: list[ast.AST], data: bytes, span: Span) -> Iterator[Edit]:
    """`and` becomes `or`, and back."""
    for node in nodes:
        if isinstance(node, ast.BoolOp):
            yield from between(data, span(node.values[0])[1], span(node.values[1])[0], BOOLEANS)


def constants(nodes: list[ast.AST], data: bytes, span: Span) -> Iterator[Edit]:
    """n becomes n + 1, True becomes False."""
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            yield *span(node), str(not node.value if isinstance(node.value, bool) else node.value + 1)


def negations(nodes: list[ast.AST], data: bytes, span: Span) -> Iterator[Edit]:
    """`not x` becomes `x`; `if x` becomes `if not x`."""
    for node in nodes:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield span(node)[0], span(node.operand)[0], ""
        elif isinstance(node, ast.If | ast.While) and isinstance(node.test, ast.Name | ast.Call | ast.Attribute):
            yield span(node.test)[0], span(node.test)[0], "not "


def arguments(nodes: list[ast.AST], data: bytes, span: Span) -> Iterator[Edit]:
    """f(a, b) becomes f(b, a)."""
    for node in nodes:
        if isinstance(node, ast.Call) and len(node.args) > 1:
            (a, b), (c, d) = span(node.args[0]), span(node.args[1])
            yield a, d, (data[c:d] + data[b:c] + data[a:b]).decode()


def names(nodes: list[ast.AST], data: bytes, span: Span) -> Iterator[Edit]:
    """A parameter is taken for the next one."""
    definition = nodes[1]
    assert isinstance(definition, Definition)
    parameters = [argument.arg for argument in definition.args.args if argument.arg not in ("self", "cls")]
    following = dict(zip(parameters, [*parameters[1:], *parameters[:1]], strict=True))
    for node in (n for statement in definition.body for n in ast.walk(statement)):
        if (
            isinstance(node, ast.Name)
            and isinstance(node.ctx, ast.Load)
            and len(following) > 1
            and node.id in following
        ):
            yield *span(node), following[node.id]


def returns(nodes: list[ast.AST], data: bytes, span: Span) -> Iterator[Edit]:
    """The value of a return is forgotten; a break becomes a continue."""
    for node in nodes:
        if isinstance(node, ast.Return) and node.value is not None and not is_none(node.value):
            yield *span(node), "return"
        elif isinstance(node, ast.Break):
            yield *span(node), "continue"


def is_none(node: ast.AST) -> bool:
    """Whether it is the constant None, which a bare return gives too."""
    return isinstance(node, ast.Constant) and node.value is None


OPERATORS: tuple[Operator, ...] = (
    comparisons,
    arithmetic,
    connectives,
    constants,
    negations,
    arguments,
    names,
    returns,
)
