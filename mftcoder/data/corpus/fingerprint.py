"""What decides the tokens of a record, as short strings: the tokenizer, the template and the code."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from mftcoder.data.corpus.cache import digest, file_digest
from mftcoder.template.base import Template

IMPORTS = re.compile(r"^(?:from|import) (mftcoder[\w.]*)", re.MULTILINE)


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
    """The text of the modules and of all of this package's that they import, however indirectly."""
    found: dict[str, str] = {}
    open_ends = list(modules)
    while open_ends:
        name = open_ends.pop()
        spec = find_spec(name)
        if name not in found and spec and spec.origin and Path(spec.origin).is_file():
            found[name] = Path(spec.origin).read_text(encoding="utf-8")
            open_ends += IMPORTS.findall(found[name])
    return digest(repr(sorted(found.items())).encode())
