"""Keys and passwords of a configuration: they reach the processes that need them, and no file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

Keys = Sequence[str | int]

ENVIRONMENT = "MFTCODER_SECRETS"  # how they come to worker processes
MASK = "***"
# Whole names of keys: eos_token and max_new_tokens are none.
SECRET = re.compile(
    r"(.*_)?(api_?key|password|passwd|secret|credentials?)|((api|auth|access|bearer|hf|hub)_)?token", re.IGNORECASE
)


def find(tree: Any, path: Keys = ()) -> Iterator[tuple[Keys, str]]:
    """Every secret of a configuration, with the keys that lead to it."""
    items = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        here = (*path, key)
        if isinstance(value, str) and value not in ("", MASK) and SECRET.fullmatch(str(key)):
            yield here, value
        else:
            yield from find(value, here)


def masked(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without its secrets."""
    return restored(tree, [(path, MASK) for path, _ in find(tree)])


def restored(tree: Mapping[str, Any], secrets: Iterable[tuple[Keys, str]]) -> dict[str, Any]:
    """A copy of the configuration with these values put in their places."""
    copy = deepcopy(dict(tree))
    for path, value in secrets:
        node: Any = copy
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value
    return copy


def scrub(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret masked."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text
