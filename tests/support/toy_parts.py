"""Components for the tests of check and build: a verb with every sort of parameter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from typing_extensions import TypedDict


class Sauce(ABC):
    @abstractmethod
    def taste(self) -> str: ...


class Mild(Sauce):
    def __init__(self, *, heat: float, spoons: int, rest: int | None, mode: Literal["stir", "shake"]) -> None:
        if heat < 0:
            raise ValueError(f"heat: {heat} is below 0")
        self.settings = (heat, spoons, rest, mode)

    def taste(self) -> str:
        return "mild"


class Hot(Sauce):
    def taste(self) -> str:
        return "hot"

    def conflicts(self, parts: Mapping[str, Any]) -> Iterator[str]:
        if parts["dish"] == "cake":
            yield "a hot sauce does not go with dish=cake"


class Spoon:
    pass


class Step(TypedDict):
    minutes: int
    what: str


def cook(
    *,
    dish: str,
    sauce: Sauce | None,
    sauces: dict[str, Sauce],
    optimizer: Callable[..., torch.optim.Optimizer],
    amounts: dict[str, float] | list[float],
    steps: list[float] | list[Step],
    pair: tuple[int, float],
    notes: Any,
    run_dir: Path,
    config: Mapping[str, Any],
) -> float:
    return float(len(dish))


def anything(**kwargs: object) -> None:
    pass
