"""The stream of packs cut into optimizer steps: the same on every rank, and resumed from a few integers."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mftcoder.core.errors import UserError
from mftcoder.core.progress_bar import progress
from mftcoder.data.corpus.cache import cached, digest, notes
from mftcoder.data.corpus.fingerprint import of_code
from mftcoder.data.corpus.tables import Split
from mftcoder.data.stream.packing import Drawn
from mftcoder.data.stream.stream import Recipe, Stream

Pack = tuple[tuple[int, int], ...]  # (task, index in the split) of each sample


class Sampler:
    """Takes the packs of one optimizer step after another from the stream of a split.

    Every rank takes the same packs and keeps its part of them, so that the stream depends on neither ranks nor workers
    nor micro-batches. A step ends with the epoch: what is left is then spread over its packs, or, where that is too
    little, filled up from the next epoch. With `stratified`, each step holds a sample of every task that has a share.
    """

    def __init__(self, split: Split, recipe: Recipe, *, packs_per_step: int, stratified: bool) -> None:
        self._split = split
        self._recipe = recipe
        self._packs_per_step = packs_per_step
        self._stratified = stratified
        self._stream = Stream(split, recipe)
        self._counted: list[int] = []

    @property
    def epoch(self) -> float:
        """Epochs so far."""
        return sum(self._stream.drawn) / self._recipe.epoch

    def take(self) -> list[Pack]:
        """The packs of the next optimizer step: always packs_per_step of them, none empty.

        Raises UserError where every task has been repeated as often as it may be.
        """
        packs: list[list[Drawn]] = []
        while len(packs) < self._packs_per_step:
            if not self._stream.finished or (packs and self._missing(packs)):
                packs.append(self._stream.draw(self._required(packs)))
            elif not packs or not spread(packs, self._packs_per_step):
                self._stream.next_epoch()
        return [tuple((sample.task, sample.row) for sample in pack) for pack in packs]

    def _missing(self, packs: Sequence[Sequence[Drawn]]) -> list[int]:
        """The tasks that a stratified step still lacks."""
        if not self._stratified:
            return []
        present = {sample.task for pack in packs for sample in pack}
        return [t for t, rate in enumerate(self._stream.rates) if rate and t not in present]

    def _required(self, packs: Sequence[Sequence[Drawn]]) -> list[int]:
        """Those of them that the next pack has to hold: its part, where the packs after it could not have one each."""
        missing = self._missing(packs)
        later = self._packs_per_step - len(packs) - 1
        number = ceil(len(missing) / (later + 1)) if len(missing) > later else int(self._stream.finished)
        for task in missing[:number]:
            self._stream.borrow(task)
        return missing[:number]

    def steps(self, num_train_epochs: float) -> int:
        """Optimizer steps that so many epochs take, counted by playing the stream; kept in the cache."""
        whole = int(num_train_epochs)
        ends = [0, *self._ends(ceil(num_train_epochs))]
        part = (num_train_epochs - whole) * (ends[-1] - ends[whole])
        return ends[whole] + ceil(part)

    def clipped(self, steps: int) -> int:
        """`steps`, or as many as the stream can give, where all tasks have a limit to how often they are repeated."""
        recipe = self._recipe
        most = (steps * self._packs_per_step + self._split.num_tasks) * recipe.room  # tokens, and so samples
        if most <= recipe.shares.end:
            return steps
        return min(steps, self.steps(ceil(recipe.shares.end / recipe.epoch)))

    def _ends(self, epochs: int) -> list[int]:
        """Steps taken by the end of each epoch."""
        if len(self._counted) >= epochs:
            return self._counted[:epochs]
        recipe, split = self._recipe, self._split
        settings = {name: value for name, value in vars(recipe).items() if name != "shares"}
        key = {
            "lengths": [digest(split.lengths(task).tobytes()) for task in range(split.num_tasks)],
            "recipe": settings | {"shares": recipe.shares.describe()},
            "step": [self._packs_per_step, self._stratified],
            "epochs": epochs,
            "code": of_code(__name__),
        }

        def play(directory: Path) -> dict[str, list[int]]:
            other = Sampler(split, recipe, packs_per_step=self._packs_per_step, stratified=self._stratified)
            return {"ends": other._play(epochs)}

        self._counted = list(notes(cached(split.cache_dir, "steps", key, play))["ends"])
        return self._counted

    def _play(self, epochs: int) -> list[int]:
        """Take all steps of so many epochs; how many there were by the end of each."""
        ends: list[int] = []
        steps = 0
        with progress(transient=True) as bar:
            shown = bar.add_task("counting steps", total=int(epochs * self._recipe.epoch))
            while len(ends) < epochs and not self._stream.over and self._took():
                steps += 1
                ends += [steps] * (self._stream.epoch + self._stream.finished - len(ends))
                bar.update(shown, completed=sum(self._stream.drawn))
        return (ends + [steps] * epochs)[:epochs]

    def _took(self) -> bool:
        """Take a step, and say whether what was left of the stream filled it."""
        try:
            self.take()
        except UserError:
            if not self._stream.over:
                raise
            return False
        return True

    def expected_counts(self, reduction: Literal["token", "sample"]) -> NDArray[np.float64]:
        """[T] float64: the units (targets or samples) of each task that a step of the first epoch holds on average."""
        split = self._split
        units = [split.num_targets(t) if reduction == "token" else split.num_samples(t) for t in range(split.num_tasks)]
        amounts = [window.order.amount for window in self._stream.windows]
        due = self._recipe.shares.due(self._recipe.epoch)
        per_amount = [unit / amount if amount else 0.0 for unit, amount in zip(units, amounts, strict=True)]
        return np.array(due, dtype=np.float64) * per_amount / self.steps(1.0)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream is, in integers."""
        return self._stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there, at once. Raises UserError if the state is that of another set of tasks."""
        if len(state["cursors"]) != self._split.num_tasks:
            raise UserError(
                f"the checkpoint's data had {len(state['cursors'])} tasks, this has {self._split.num_tasks}; "
                "resume with the same data"
            )
        self._stream.load_state_dict(state)


def spread(packs: list[list[Drawn]], number: int) -> bool:
    """Divide packs until there are `number`; whether there were samples enough for that."""
    while len(packs) < number:
        longest = max(packs, key=len)
        if len(longest) < 2:
            return False
        packs.append([longest.pop()])
    return True
