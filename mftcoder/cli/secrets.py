"""Keys and passwords of a configuration: they reach the processes that need them, and no file.

A value is a secret by the name of its key. Values of six or more characters are masked wherever else they occur, as in
an address; shorter ones by their key alone, since every text would hold them by chance.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

Keys = Sequence[str | int]

ENVIRONMENT = "MFTCODER_SECRETS"  # how they come to worker processes
MASK = "***"
NAMES = ("*key*", "*token*", "*secret*", "*password*", "*passwd*", "*credential*")
EXTRA_NAMES = "secret_keys"  # the key of a root config under which a user may add to them
# Tokens and keys of models: eos_token, tokenizer, special_tokens, key_padding_mask.
_MARKS = "bos|eos|pad|unk|sep|cls|mask|stop|start|end|image|special"
HARMLESS = re.compile(rf"(.*_)?({_MARKS})_?tokens?(_id)?|.*tokeni[sz].*")
# Their values may be numbers.
NUMBERS = re.compile(r".*(password|passwd|secret|api_?key|access_?key|(auth|access|hf|hub)_token|pin)")
SHORTEST = 6  # characters of a value that is masked wherever it occurs


class Hidden(NamedTuple):
    """A text of a configuration that holds a secret."""

    path: Keys
    text: str | int
    shown: str


def is_secret(key: object, names: Iterable[str] = ()) -> bool:
    """Whether the values of a key are secret by its name, or by one of the patterns that a user has added."""
    word = str(key).lower()
    return not HARMLESS.fullmatch(word) and any(fnmatchcase(word, name.lower()) for name in (*NAMES, *names))


def find(tree: Mapping[str, Any]) -> list[Hidden]:
    """Every text of a configuration that is secret, or holds a secret, and what is shown in its place."""
    names = tree.get(EXTRA_NAMES) or ()
    texts = list(_texts(tree))
    by_key = {tuple(path): str(text) for path, text in texts if _hides(path, text, names)}
    found = [
        Hidden(path, text, MASK if tuple(path) in by_key else scrub(str(text), by_key.values())) for path, text in texts
    ]
    return [hidden for hidden in found if hidden.shown != str(hidden.text)]


def values(tree: Mapping[str, Any]) -> list[str]:
    """The secrets of a configuration."""
    return [str(hidden.text) for hidden in find(tree) if hidden.shown == MASK]


def masked(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without its secrets."""
    return _with(tree, ((hidden.path, hidden.shown) for hidden in find(tree)))


def restored(tree: Mapping[str, Any], hidden: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """A copy of a masked configuration with what `find` found put back in its places."""
    return _with(tree, ((path, text) for path, text, _ in hidden))


def scrub(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret masked that is long enough not to occur by chance, also where it is escaped."""
    for secret in sorted({s for s in secrets if len(s) >= SHORTEST}, key=len, reverse=True):
        for form in (secret, secret.replace("\\", "\\\\").replace('"', '\\"'), json.dumps(secret)[1:-1]):
            text = text.replace(form, MASK)
    return text


def masked_override(word: str, secrets: Iterable[str] = (), names: Iterable[str] = ()) -> str:
    """A word of the command line without its secrets: all of the value where its key, or a key in it, is secret."""
    key, sign, value = word.partition("=")
    last = key.lstrip("+~").rpartition(".")[2].rpartition("/")[2]
    inner = re.findall(r"[{,]\s*['\"]?([\w.-]+)['\"]?\s*:", value)
    if sign and any(is_secret(name, names) for name in (last, *inner)):
        return f"{key}={MASK}"
    return scrub(word, secrets)


def _with(tree: Mapping[str, Any], changes: Iterable[tuple[Keys, str | int]]) -> dict[str, Any]:
    copy = deepcopy(dict(tree))
    for path, value in changes:
        node: Any = copy
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value
    return copy


def _texts(tree: Any, path: Keys = ()) -> Iterator[tuple[Keys, str | int]]:
    """Every text and integer of a tree, with the keys that lead to it."""
    items = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    for key, value in items:
        if isinstance(value, str | int) and not isinstance(value, bool):
            yield (*path, key), value
        else:
            yield from _texts(value, (*path, key))


def _hides(path: Keys, text: str | int, names: Iterable[str]) -> bool:
    """Whether the innermost key that has a name is secret; so it is for the items of a list."""
    name = next((key for key in reversed(path) if isinstance(key, str)), "")
    if name in ("_target_", EXTRA_NAMES) or text in ("", MASK):
        return False
    return NUMBERS.fullmatch(name.lower()) is not None if isinstance(text, int) else is_secret(name, names)
