"""How far a run is, and what its validations said: the part of the state that is plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Keep = Literal["best", "best_by_task", "pareto"]
Losses = Mapping[str, float]


@dataclass
class Progress:
    """How far a run is, and what its validations said.

    What was best, and for how long nothing was better, follows from the validations.

    Args:
        step: finished optimizer steps.
        tokens: tokens seen, by task, over all ranks.
        frozen: tasks held at their floor.
        validations: step and validation loss of each task, in the order in which they were taken.
        unlogged: by metric, total and count of the losses since the last log.
    """

    step: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    frozen: list[str] = field(default_factory=list)
    validations: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    unlogged: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """The tasks that were ever validated."""
        return list(dict.fromkeys(task for _, losses in self.validations for task in losses))

    def first(self, task: str) -> float:
        """The loss of a task at its first validation."""
        return next(losses[task] for _, losses in self.validations if task in losses)

    def best(self, task: str | None = None) -> tuple[int, float] | None:
        """Step and loss of the lowest validation loss, the earliest such: of one task, or of the mean of all."""
        seen = self._seen(task)
        return min(seen, key=lambda pair: pair[1]) if seen else None

    @property
    def best_step(self) -> int | None:
        """The step with the lowest mean of the tasks' validation losses."""
        best = self.best()
        return None if best is None else best[0]

    def stalls(self, task: str | None = None) -> int:
        """Validations in a row without a new best: of one task, or of the mean of all."""
        steps = [step for step, _ in self._seen(task)]
        best = self.best(task)
        return 0 if best is None else len(steps) - 1 - steps.index(best[0])

    def pareto(self) -> list[int]:
        """Steps that no other step beats in one task without losing in another."""
        return [
            step for step, losses in self.validations if not any(_dominates(o, losses) for _, o in self.validations)
        ]

    def notable(self) -> dict[str, int]:
        """The best step, and that of each task, by the name to point to them with."""
        steps = {"best": self.best_step} | {f"best-{t}": best[0] for t in self.tasks if (best := self.best(t))}
        return {name: step for name, step in steps.items() if step is not None}

    def worth(self, keep: Keep) -> set[int]:
        """Steps to save and to keep: the best, also that of each task, or also the Pareto set."""
        steps = self.notable()
        if keep == "best":
            steps = {name: step for name, step in steps.items() if name == "best"}
        return {*steps.values(), *(self.pareto() if keep == "pareto" else [])}

    def add_losses(self, losses: Mapping[str, tuple[float, float]]) -> None:
        """Add the total and the count of the losses of one step, by metric."""
        before = {name: self.unlogged.get(name, (0.0, 0.0)) for name in losses}
        added = {name: (before[name][0] + total, before[name][1] + count) for name, (total, count) in losses.items()}
        self.unlogged = self.unlogged | added

    def take_means(self) -> dict[str, float]:
        """The means of the losses since the last log, by metric; the next are counted from here."""
        means = {name: total / count for name, (total, count) in self.unlogged.items()}
        self.unlogged = {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """Every field by its name; losses since the last log where there are any."""
        return {name: value for name, value in vars(self).items() if name != "unlogged" or value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over every field."""
        vars(self).update({"unlogged": {}} | state)

    def _seen(self, task: str | None) -> list[tuple[int, float]]:
        if task is None:
            return [(step, sum(losses.values()) / len(losses)) for step, losses in self.validations if losses]
        return [(step, losses[task]) for step, losses in self.validations if task in losses]


def _dominates(one: Losses, other: Losses) -> bool:
    """Nowhere worse and somewhere better."""
    return all(one[task] <= loss for task, loss in other.items()) and any(one[t] < loss for t, loss in other.items())
