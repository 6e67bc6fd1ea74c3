"""Asserts that what an engine puts around a model leaves the precision of arguments and results alone.

Counts, coefficients and per-task totals are float64. A library that casts inputs to bfloat16 would round them without
a word, and with them every loss that is reported or balanced by.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn


class Boundary:
    """Compares the dtypes of floating-point tensors outside of the engine's wrapping with those inside.

    Args:
        outer: what is called.
        inner: the module that was given to the engine; it may be `outer` itself, with the engine's hooks on it.
    """

    def __init__(self, outer: nn.Module, inner: nn.Module) -> None:
        self.given: list[torch.dtype] = []
        self.made: list[torch.dtype] = []
        outer.register_forward_pre_hook(self._enter, prepend=True, with_kwargs=True)
        inner.register_forward_pre_hook(self._entered, with_kwargs=True)
        inner.register_forward_hook(self._leave, prepend=True)
        outer.register_forward_hook(self._left)

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self.given = list(_dtypes((args, kwargs)))

    def _entered(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        inside = list(_dtypes((args, kwargs)))
        assert inside == self.given, f"the engine casts the model's arguments from {self.given} to {inside}"

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.made = list(_dtypes(output))

    def _left(self, module: nn.Module, args: Any, output: Any) -> None:
        outside = list(_dtypes(output))
        assert outside == self.made, f"the engine casts the model's results from {self.made} to {outside}"


def _dtypes(value: Any) -> Iterator[torch.dtype]:
    """Of all floating-point tensors in tuples, lists, dicts and dataclasses, in order."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value.dtype
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _dtypes(item)
    elif isinstance(value, dict):
        yield from _dtypes(list(value.values()))
    elif is_dataclass(value) and not isinstance(value, type):
        yield from _dtypes([getattr(value, field.name) for field in fields(value)])
