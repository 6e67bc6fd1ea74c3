"""Optimizer steps cut from the stream of packs: the same on every rank, and resumed from a few integers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mftcoder.core.errors import UserError
from mftcoder.data.corpus.cache import cached, digest, notes
from mftcoder.data.corpus.fingerprint import of_code
from mftcoder.data.corpus.tables import Split
from mftcoder.data.stream.packing import PackedSample
from mftcoder.data.stream.stream import ExhaustedError, Recipe, Stream
from mftcoder.system.progress_bar import progress

Pack = tuple[tuple[int, int], ...]  # (task, index in the split) of each sample


class Sampler:
    """Takes the packs of one optimizer step after another from the stream of a split.

    Every rank takes the same packs and keeps its part of them, so that the stream depends on neither ranks nor workers
    nor micro-batches. A step ends with the epoch: what is left is then spread over its packs, or, where that is too
    little, filled up from the next epoch.

    Args:
        split: the samples.
        recipe: of the stream.
        packs_per_step: over all ranks and accumulation steps.
        stratified: whether each step holds a sample of every task that has a share.
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
        return sum(self._stream.drawn) / self._recipe.epoch_size

    @property
    def shares(self) -> list[float]:
        """[T], shares of tokens (or samples) that hold now; 0 for a task that is left out."""
        return self._stream.rates

    @property
    def trained(self) -> list[bool]:
        """[T], whether a task has a share of the stream at any time."""
        return self._recipe.shares.ever

    def take(self) -> list[Pack]:
        """The packs of the next optimizer step: always packs_per_step of them, none empty.

        Raises:
            ExhaustedError: every task has been repeated as often as it may be.
            UserError: a stratified step has no room.
        """
        packs: list[list[PackedSample]] = []
        while len(packs) < self._packs_per_step:
            if not self._stream.finished or (packs and self._missing(packs)):
                packs.append(self._stream.draw(self._required(packs)))
            elif not packs or not spread(packs, self._packs_per_step):
                self._stream.next_epoch()
        return [tuple((sample.task, sample.row) for sample in pack) for pack in packs]

    def _missing(self, packs: Sequence[Sequence[PackedSample]]) -> list[int]:
        """The tasks of which a stratified step has no sample yet."""
        if not self._stratified:
            return []
        present = {sample.task for pack in packs for sample in pack}
        return [t for t, rate in enumerate(self._stream.rates) if rate and t not in present]

    def _required(self, packs: Sequence[Sequence[PackedSample]]) -> list[int]:
        """The missing tasks that the next pack has to hold: as many as the packs after it could not take one each."""
        missing = self._missing(packs)
        later = self._packs_per_step - len(packs) - 1
        number = ceil(len(missing) / (later + 1)) if len(missing) > later else int(self._stream.finished)
        for task in missing[:number]:
            self._stream.borrow(task)
        return missing[:number]

    def steps(self, num_train_epochs: float) -> int:
        """Optimizer steps of so many epochs, counted by simulating the stream once; the count is cached.

        Raises:
            UserError: a stratified step has no room for a sample of every task.
        """
        whole = int(num_train_epochs)
        ends = [0, *self._ends(ceil(num_train_epochs))]
        part = (num_train_epochs - whole) * (ends[-1] - ends[whole])
        return ends[whole] + ceil(part)

    def clipped(self, steps: int) -> int:
        """`steps`, or as many as the stream can give where the repeats of all tasks are limited.

        Raises:
            UserError: within these steps a stratified one would have no room for a sample of every task.
        """
        recipe = self._recipe
        most = (steps * self._packs_per_step + self._split.num_tasks) * recipe.capacity  # tokens, and so samples
        if most > recipe.shares.end:
            steps = min(steps, self.steps(ceil(recipe.shares.end / recipe.epoch_size)))
        if self._may_lack_room():
            self._simulated({"steps": steps})
        return steps

    def _may_lack_room(self) -> bool:
        """Whether a stratified step could fail: the longest samples of the tasks of one pack exceed its capacity."""
        lengths = [self._split.lengths(task) for task in range(self._split.num_tasks)]
        longest = sorted((int(task.max()) for task in lengths if len(task)), reverse=True)
        in_one_pack = 1 if self._recipe.one_per_pack else ceil(len(longest) / self._packs_per_step)
        return self._stratified and sum(longest[:in_one_pack]) > self._recipe.capacity

    def _ends(self, epochs: int) -> list[int]:
        """Steps taken by the end of each epoch."""
        if len(self._counted) < epochs:
            self._counted = list(self._simulated({"epochs": epochs})["ends"])
        return self._counted[:epochs]

    def _simulated(self, until: dict[str, int]) -> dict[str, list[int]]:
        """Simulates the stream {epochs: n} or {steps: n} far, once for all runs that share the cache."""
        recipe, split = self._recipe, self._split
        settings = {name: value for name, value in vars(recipe).items() if name != "shares"}
        key = {
            "lengths": [digest(split.lengths(task).tobytes()) for task in range(split.num_tasks)],
            "recipe": settings | {"shares": recipe.shares.describe()},
            "step": [self._packs_per_step, self._stratified],
            **until,
            "code": of_code(__name__),
        }

        def simulate(_: Path) -> dict[str, list[int]]:
            other = Sampler(split, recipe, packs_per_step=self._packs_per_step, stratified=self._stratified)
            return {"ends": other._simulate(**until)}

        found: dict[str, list[int]] = notes(cached(split.cache_dir, "steps", key, simulate))
        return found

    def _simulate(self, epochs: int | None = None, steps: int | None = None) -> list[int]:
        """Take all steps of so many epochs, or so many steps; how many there were by the end of each epoch."""
        ends: list[int] = []
        taken = 0
        total = int((epochs or 0) * self._recipe.epoch_size) if steps is None else steps
        with progress(transient=True) as bar:
            shown = bar.add_task("counting steps", total=total)
            while (epochs is None or len(ends) < epochs) and taken != steps and not self._stream.exhausted:
                if not self._took_step():
                    break
                taken += 1
                ends += [taken] * (self._stream.epoch + self._stream.finished - len(ends))
                bar.update(shown, completed=sum(self._stream.drawn) if steps is None else taken)
        return (ends + [taken] * (epochs or 0))[:epochs]

    def _took_step(self) -> bool:
        """Take a step; False if what was left of the stream did not fill it."""
        try:
            self.take()
        except ExhaustedError:
            return False
        return True

    def expected_counts(self, reduction: Literal["token", "sample"]) -> NDArray[np.float64]:
        """What the mixture promises each task of the next step: its mean number of targets, or of samples.

        It follows the shares at the stream's position, which `stages` and `repeat` change: with s_t the share now,
        m the size of an average step and d_t the targets (samples) for each token (or sample) of task t, s_t m d_t.
        A step always holds the same number of samples (one a pack) or, on average, of tokens (packs).

        Args:
            reduction: token counts targets, sample counts samples.

        Returns:
            [T] float64, 0 for a task that has no share now.
        """
        density, sizes, step_size = self._promises[reduction]
        rates = np.array(self._stream.rates)
        expected: NDArray[np.float64] = rates * step_size / ((rates * sizes).sum() or 1.0) * density
        return expected

    @cached_property
    def _promises(self) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64], float]]:
        """By reduction, what does not change over the run.

        Targets (samples) [T] for each token (or sample) of a task; [T], what one of these adds to that size of a step
        which is the same for all steps; and this size.
        """
        split, recipe = self._split, self._recipe
        tasks = range(split.num_tasks)
        amounts = [ahead.shuffle.amount for ahead in self._stream.look_aheads]
        means = np.array([split.num_tokens(t) / max(split.num_samples(t), 1) or 1.0 for t in tasks])
        by_tokens = recipe.tokens_per_sample is None
        sizes = np.ones(len(means))
        if by_tokens and recipe.one_per_pack:
            sizes = 1 / means
        elif not by_tokens and not recipe.one_per_pack:
            sizes = means
        first_epoch = np.array(recipe.shares.quota(min(recipe.epoch_size, recipe.shares.end))) / self.steps(1.0)
        step_size = float((first_epoch * sizes).sum())
        counts = {"token": [split.num_targets(t) for t in tasks], "sample": [split.num_samples(t) for t in tasks]}
        return {
            reduction: (np.array([c / a if a else 0.0 for c, a in zip(own, amounts, strict=True)]), sizes, step_size)
            for reduction, own in counts.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Where the stream is: names of the tasks, and integers."""
        return self._stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from there, at once.

        Raises:
            UserError: the state is of other tasks.
        """
        here, number = self._split.tasks, len(state["cursors"])
        saved = state.get("tasks", here)  # states of earlier versions have no names
        if sorted(saved) != sorted(here) or number != len(here):
            had = state.get("tasks", f"{number} in number")
            raise UserError(f"the checkpoint's data had the tasks {had}, these have {here}; resume with the same tasks")
        self._stream.load_state_dict(state)


def spread(packs: list[list[PackedSample]], number: int) -> bool:
    """Divide packs until there are `number`; False if there are too few samples for that."""
    while len(packs) < number:
        longest = max(packs, key=len)
        if len(longest) < 2:
            return False
        packs.append([longest.pop()])
    return True
