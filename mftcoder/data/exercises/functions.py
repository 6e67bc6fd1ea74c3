"""The functions of the running Python's standard library, found by `ast`."""

from __future__ import annotations

import ast
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SKIPPED = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test", "turtledemo", "pydoc_data"}
LONGEST = 2400  # characters of a function: so that it fits, with its prompt, into about a thousand tokens

Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Function:
    """One function or method.

    Args:
        package: its top-level module.
        name: `module.Class.method`.
        signature: `method(self, x)`.
        doc: its docstring, cleaned, or "".
        source: its code, dedented, without the docstring.
        body: the line of `source`, from 0, where its body starts.
    """

    package: str
    name: str
    signature: str
    doc: str
    source: str
    body: int


def functions(library: Path) -> list[Function]:
    """All functions of the library that can be shown alone, each once, however many modules repeat its code.

    What is kept is text: so many trees would keep the garbage collector busy.
    """
    found: dict[str, Function] = {}
    for module, path in modules(library):
        source, tree = parse(path)
        lines = source.splitlines()
        for owner, node in definitions(tree, module):
            function = describe(lines, node, owner, module.split(".")[0])
            if function:
                found.setdefault("".join(function.source.split()), function)
    return list(found.values())


def modules(library: Path) -> Iterator[tuple[str, Path]]:
    """Dotted names and files of all modules below `library` that are no tests, in the order of their names."""
    for path in sorted(library.rglob("*.py")):
        parts = path.relative_to(library).with_suffix("").parts
        if not SKIPPED.intersection(parts) and not parts[0].startswith("_sysconfigdata"):
            yield ".".join(parts).removesuffix(".__init__"), path


def parse(path: Path) -> tuple[str, ast.Module]:
    """Text and tree of a file; an empty tree where it is not Python of this version."""
    try:
        source = path.read_text(encoding="utf-8")
    except ValueError:
        return "", ast.Module([], [])
    return source, syntax(source) or ast.Module([], [])


def syntax(source: str) -> ast.Module | None:
    """The tree of `source`, if it is Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old escapes in strings
            return ast.parse(source)
    except (SyntaxError, ValueError):
        return None


def definitions(tree: ast.Module, module: str) -> Iterator[tuple[str, Definition]]:
    """Functions of the module and methods of its classes, each with the dotted name of what it is in."""
    for node in tree.body:
        if isinstance(node, Definition):
            yield module, node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{module}.{node.name}", n) for n in node.body if isinstance(n, Definition))


def describe(lines: list[str], node: Definition, owner: str, package: str) -> Function | None:
    """The function at `node`, or None where it is too long, on one line, or has nothing but a docstring."""
    doc = ast.get_docstring(node)
    body = node.body if doc is None else node.body[1:]
    if not body or node.body[0].lineno == node.lineno:
        return None
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    header = lines[first - 1 : node.body[0].lineno - 1]
    start = node.body[0].lineno - 1 if doc is None else node.body[0].end_lineno
    rest = "\n".join(lines[start : node.end_lineno]).strip("\n")
    source = textwrap.dedent("\n".join([*header, rest]))
    if len(source) + len(doc or "") > LONGEST:
        return None
    tree = syntax(source)
    if tree is None or len(tree.body) != 1 or not isinstance(tree.body[0], Definition):
        return None
    signature = f"{node.name}({ast.unparse(node.args)})"
    return Function(package, f"{owner}.{node.name}", signature, doc or "", source, len(header))
