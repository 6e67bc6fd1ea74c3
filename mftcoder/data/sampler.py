"""The global stream of packs: a pure function of seed and mixture, cut into steps, and resumed from a few integers."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mftcoder.core.errors import UserError
from mftcoder.data.corpus import Split
from mftcoder.data.order import Order
from mftcoder.data.packing import Window, fill

Pack = tuple[tuple[int, int], ...]  # (task, index in the split) of each sample


class Sampler:
    """Draws the packs of each optimizer step from all tasks of a split, each sample once an epoch.

    Every rank draws the same stream and keeps its part of it, so that the stream depends on neither ranks nor workers
    nor micro-batches. Within an epoch the tasks keep their shares of the tokens throughout.
    """

    def __init__(
        self, split: Split, *, packs_per_step: int, seed: int, seq_length: int, look_ahead: int, alone: bool
    ) -> None:
        self._packs_per_step = packs_per_step
        self._seq_length = seq_length
        self._alone = alone
        self._split = split
        self._settings = (split, packs_per_step, seed, seq_length, look_ahead, alone)
        self._tokens = [int(split.lengths(t).sum(dtype=np.int64)) for t in range(split.num_tasks)]
        if not sum(self._tokens):
            raise UserError("no task has a single sample to train on; see the report of what became of the records")
        self._shares = [tokens / sum(self._tokens) for tokens in self._tokens]
        orders = [Order(split.lengths(t), seed=seed, task=t) for t in range(split.num_tasks)]
        self._windows = [Window(order, look_ahead) for order in orders]
        self._drawn = [0] * split.num_tasks
        self._epoch = 0
        self._begin_epoch()
        self._steps: list[int] = []

    def _begin_epoch(self) -> None:
        for window in self._windows:
            window.place(window.cursor, window.taken, (self._epoch + 1) * window.order.size)

    @property
    def epoch(self) -> float:
        """Passes over the data so far."""
        return sum(self._drawn) / sum(self._tokens)

    def take(self) -> list[Pack]:
        """The packs of the next optimizer step: always packs_per_step, none of them empty."""
        packs: list[list[tuple[int, int, int]]] = []
        while len(packs) < self._packs_per_step:
            if not any(window.entries for window in self._windows):
                if packs and spread(packs, self._packs_per_step):
                    break
                self._epoch += 1
                self._begin_epoch()
            packs.append(self._draw())
        return [tuple((task, index) for task, index, _ in pack) for pack in packs]

    def _draw(self) -> list[tuple[int, int, int]]:
        total = sum(self._drawn)
        deficits = [share * total - drawn for share, drawn in zip(self._shares, self._drawn, strict=True)]
        if self._alone:
            task = max((t for t, w in enumerate(self._windows) if w.entries), key=lambda t: deficits[t])
            entry = self._windows[task].oldest
            pack = [(task, self._windows[task].take(entry), entry[0])]
        else:
            pack = fill(self._windows, deficits, self._shares, self._seq_length)
        for task, _, length in pack:
            self._drawn[task] += length
        return pack

    def steps(self, num_train_epochs: float) -> int:
        """Optimizer steps that `num_train_epochs` passes take: a step never holds samples of two epochs."""
        whole = int(num_train_epochs)
        wanted = whole + (num_train_epochs > whole)
        while len(self._steps) < wanted:
            self._steps.append(self._count(len(self._steps)))
        part = self._steps[whole] * (num_train_epochs - whole) if wanted > whole else 0
        return sum(self._steps[:whole]) + int(np.ceil(part))

    def _count(self, epoch: int) -> int:
        """Steps of one epoch, counted by drawing it."""
        split, packs_per_step, seed, seq_length, look_ahead, alone = self._settings
        other = Sampler(
            split, packs_per_step=packs_per_step, seed=seed, seq_length=seq_length, look_ahead=look_ahead, alone=alone
        )
        sizes = [window.order.size for window in other._windows]
        other.load_state_dict(
            {
                "epoch": epoch,
                "cursors": [epoch * size for size in sizes],
                "taken": [0] * len(sizes),
                "drawn": [epoch * tokens for tokens in self._tokens],
            }
        )
        steps = 0
        while other._epoch == epoch and any(window.entries for window in other._windows):
            other.take()
            steps += 1
        return steps

    def expected_counts(self, reduction: Literal["token", "sample"]) -> NDArray[np.float64]:
        """[T] float64: the units (targets or samples) of each task that a step holds on average."""
        split = self._split
        units = [
            split.supervised(t).sum(dtype=np.int64) if reduction == "token" else split.num_samples(t)
            for t in range(split.num_tasks)
        ]
        return np.array(units, dtype=np.float64) / self.steps(1.0)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream is: the epoch, and of each task its cursor, what is taken beyond it, and tokens drawn."""
        return {
            "epoch": self._epoch,
            "cursors": [window.cursor for window in self._windows],
            "taken": [str(window.taken) for window in self._windows],
            "drawn": list(self._drawn),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there, at once."""
        self._epoch = state["epoch"]
        self._drawn = list(state["drawn"])
        for window, cursor, taken in zip(self._windows, state["cursors"], state["taken"], strict=True):
            window.place(cursor, int(taken), (self._epoch + 1) * window.order.size)


def spread(packs: list[list[tuple[int, int, int]]], number: int) -> bool:
    """Divide packs until there are `number`; whether there were samples enough for that."""
    while len(packs) < number:
        longest = max(packs, key=len)
        if len(longest) < 2:
            return False
        packs.append([longest.pop()])
    return True
