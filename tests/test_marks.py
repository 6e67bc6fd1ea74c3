"""What starts processes is marked slow, so that `make check` leaves it out."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parent
STARTS = {"subprocess", "fork", "forked", "on_ranks", "multiprocessing", "run_path"}
COMMANDS = {"command_line": {"run", "start"}}  # Helper modules, and what starts processes in them.


def mentioned(function: ast.FunctionDef) -> set[str]:
    """The names that a function uses, its fixtures included."""
    nodes = list(ast.walk(function))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return (
        names | {node.attr for node in nodes if isinstance(node, ast.Attribute)} | {a.arg for a in function.args.args}
    )


def starting(tree: ast.Module) -> set[str]:
    """The functions of a module that start processes, by themselves or by others of it."""
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module in COMMANDS]
    names = {a.name for node in imports for a in node.names} & set().union(*COMMANDS.values()) | STARTS
    functions = {node.name: mentioned(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    found: set[str] = set()
    while more := {name for name, uses in functions.items() if uses & (names | found)} - found:
        found |= more
    return found


def unmarked(source: str) -> list[str]:
    """The tests of a module that start processes and are not marked slow."""
    tree = ast.parse(source)
    marks = [node.value for node in tree.body if isinstance(node, ast.Assign) and "pytestmark" in ast.unparse(node)]
    if any("mark.slow" in ast.unparse(mark) for mark in marks):
        return []
    names = starting(tree)
    tests = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in names]
    tests = [node for node in tests if node.name.startswith("test_")]
    return [node.name for node in tests if not any("mark.slow" in ast.unparse(d) for d in node.decorator_list)]


def test_what_starts_processes_is_marked_slow() -> None:
    faults = {path.relative_to(TESTS): unmarked(path.read_text(encoding="utf-8")) for path in TESTS.rglob("test_*.py")}
    assert len(faults) > 100
    assert {path: names for path, names in faults.items() if names} == {}


def test_a_helper_or_a_fixture_that_starts_a_process_counts() -> None:
    source = "def helper(): subprocess.run([])\ndef place(helper): pass\ndef test_a(place): pass\ndef test_b(): pass\n"
    assert unmarked(source) == ["test_a"]
    assert unmarked(source.replace("def test_a", "@pytest.mark.slow\ndef test_a")) == []
    assert unmarked(f"pytestmark = pytest.mark.slow\n{source}") == []
