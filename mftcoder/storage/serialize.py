"""Nested state to JSON and safetensors and back, exactly and without pickle."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

TAG = "$"  # A dict with one key that begins so stands for something that JSON has no word for.


@dataclass(frozen=True, slots=True)
class Encoded:
    """A state as plain JSON values, and the tensors they refer to by path (copies, on the CPU)."""

    tree: Any
    tensors: dict[str, Tensor]

    @property
    def num_bytes(self) -> int:
        """What the tensors weigh."""
        return sum(t.nbytes for t in self.tensors.values())


def encode(value: Any) -> Encoded:
    """Copy a state of nested dicts, lists and tuples of tensors, numbers, strings, booleans and None.

    Later changes to the state do not reach the copy, so that it may be written by another thread.
    Raises TypeError, naming the path, for anything else.
    """
    tensors: dict[str, Tensor] = {}
    return Encoded(_encode(value, "", tensors), tensors)


def decode(encoded: Encoded) -> Any:
    """The state that `encode` copied."""
    return _decode(encoded.tree, encoded.tensors)


def write(directory: Path, name: str, encoded: Encoded) -> None:
    """Write `<name>.json`, and `<name>.safetensors` where there are tensors."""
    text = json.dumps(encoded.tree, indent=1, allow_nan=False)
    (directory / f"{name}.json").write_text(text, encoding="utf-8")
    if encoded.tensors:
        save_file(encoded.tensors, directory / f"{name}.safetensors")


def read(directory: Path, name: str) -> Any:
    """The state that `write` wrote; its tensors lie on the CPU."""
    tree = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
    file = directory / f"{name}.safetensors"
    return _decode(tree, load_file(file) if file.exists() else {})


def _encode(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[path] = value.detach().to("cpu", copy=True).contiguous()
        return {f"{TAG}tensor": path}
    if isinstance(value, dict):
        return _encode_dict(value, path, tensors)
    if isinstance(value, (list, tuple)):
        items = [_encode(item, _join(path, i), tensors) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {f"{TAG}tuple": items}
    if type(value) is float and not math.isfinite(value):
        return {f"{TAG}float": repr(value)}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(
        f"{path or 'state'}: {value!r} is of type {type(value).__name__}; a state holds dicts, lists, tuples, tensors, "
        "int, float, str, bool and None"
    )


def _encode_dict(value: dict[Any, Any], path: str, tensors: dict[str, Tensor]) -> Any:
    if all(type(key) is str and not key.startswith(TAG) for key in value):
        return {key: _encode(item, _join(path, key), tensors) for key, item in value.items()}
    pairs = [
        [_encode(key, _join(path, f"{i}.key"), tensors), _encode(item, _join(path, i), tensors)]
        for i, (key, item) in enumerate(value.items())
    ]
    return {f"{TAG}dict": pairs}


def _decode(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, list):
        return [_decode(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    tag = next(iter(tree), "")
    if tag.startswith(TAG):
        return _untag(tag, tree[tag], tensors)
    return {key: _decode(item, tensors) for key, item in tree.items()}


def _untag(tag: str, content: Any, tensors: dict[str, Tensor]) -> Any:
    if tag == f"{TAG}tensor":
        return tensors[content]
    if tag == f"{TAG}float":
        return float(content)
    if tag == f"{TAG}tuple":
        return tuple(_decode(item, tensors) for item in content)
    return {_decode(key, tensors): _decode(item, tensors) for key, item in content}


def _join(path: str, key: object) -> str:
    return f"{path}/{key}" if path else str(key)
