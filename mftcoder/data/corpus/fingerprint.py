"""What decides the tokens of a record, as short strings: the tokenizer, the template and the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from mftcoder.data.corpus.cache import digest, file_digest
from mftcoder.template.base import Template

OURS = "mftcoder"


def of_tokenizer(tokenizer: PreTrainedTokenizerBase) -> str:
    """Its vocabulary and rules, its special tokens, its chat template."""
    special = sorted(map(str, tokenizer.special_tokens_map.items()))
    rules = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else type(tokenizer).__name__
    return digest(repr([rules, special, tokenizer.chat_template]).encode())


def of_template(template: Template) -> str:
    """Its class and settings; a setting that names a file counts with the file's content."""
    settings = [
        (name, value, file_digest(Path(value)) if names_file(value) else "")
        for name, value in sorted(vars(template).items())
    ]
    return digest(repr([type(template).__qualname__, settings, of_code(type(template).__module__)]).encode())


def names_file(value: object) -> bool:
    """Whether a setting is the path of a file."""
    try:
        return isinstance(value, str | Path) and Path(value).is_file()
    except (OSError, ValueError):  # too long for a path, or with a NUL
        return False


def of_code(*modules: str) -> str:
    """The text of modules and of all that they import, however indirectly, of this package and of their own.

    Imports are found by parsing, in every form and in functions too; nothing is imported for it.
    """
    roots = {OURS, *(name.partition(".")[0] for name in modules)}
    folders = {root: folder for root in roots if (folder := package_folder(root))}
    found: dict[str, str] = {}
    pending = list(modules)
    while pending:
        name = pending.pop()
        root, _, rest = name.partition(".")
        path = source_of(folders[root], rest) if root in folders else None
        if path is None or name in found:
            continue
        found[name] = path.read_text(encoding="utf-8")
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        pending += imports(found[name], package)
    return digest(repr(sorted(found.items())).encode())


def package_folder(root: str) -> Path | None:
    """The directory of a package, or of a module outside of any."""
    try:
        spec = find_spec(root)
    except ValueError:  # __main__ of a script
        spec = None
    if spec is None or not spec.origin:
        return None
    return Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)


def source_of(folder: Path, rest: str) -> Path | None:
    """The file of a module, `rest` below its package; None where that names something in a module."""
    if folder.is_file():
        return folder if not rest else None
    path = folder.joinpath(*rest.split(".")) if rest else folder
    candidates = (path.with_name(f"{path.name}.py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def imports(source: str, package: str) -> Iterator[str]:
    """Dotted names that a module imports; of `from a import b` both a and a.b, as b may be a module.

    Args:
        source: its text.
        package: that it is in, from which relative imports count.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
