"""Fills one pack from the look-aheads of all tasks: by deficit, and near its end by what fits."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from mftcoder.core.errors import UserError
from mftcoder.data.stream.look_ahead import Candidate, LookAhead

CLOSING = 0.06  # of the capacity: once less is left, samples are chosen by whether they fit
CHOICES = 4  # candidates of each task to choose from then
FILL_WEIGHT = 6  # tokens of deficit that a token of filled capacity is worth then


class PackedSample(NamedTuple):
    """A sample of a pack: its task, its row in the split, and its tokens."""

    task: int
    row: int
    length: int


class Packer:
    """Fills one pack. The algorithm is described in full at `Stream`.

    Args:
        look_aheads: [T], what may be chosen from each task; the packer takes from them.
        deficits: [T], quota minus what was drawn, in tokens or samples; negative for a task that is ahead.
        rates: [T], shares that hold now.
        tokens_per_sample: None if shares are of tokens; if they are of samples, the mean length of all samples.
        overdraft: how far ahead of its quota a task may get for the sake of a full pack.

    Attributes:
        pack: the samples chosen so far.
    """

    def __init__(
        self,
        look_aheads: list[LookAhead],
        deficits: Sequence[float],
        rates: Sequence[float],
        tokens_per_sample: float | None,
        overdraft: float,
    ) -> None:
        self.look_aheads = look_aheads
        self.deficits = list(deficits)
        self.rates = rates
        self.tokens_per_sample = tokens_per_sample
        self.overdraft = overdraft
        self.pack: list[PackedSample] = []

    def require(self, tasks: Sequence[int], capacity: int) -> int:
        """Add a sample of each of `tasks`: the head where it is due and fits, else one as long as the deficit allows.

        Returns:
            The capacity that is left, in tokens.

        Raises:
            UserError: the shortest candidates of the tasks do not fit together.
        """
        for done, task in enumerate(tasks, start=1):
            look_ahead = self.look_aheads[task]
            free = capacity - sum(self.look_aheads[other].candidates[0].length for other in tasks[done:])
            if look_ahead.candidates[0].length > free:
                raise UserError(
                    f"stratified: a step has no room for a sample of every task ({free} tokens are left for one of "
                    f"{look_ahead.candidates[0].length}); make data.seq_length or the number of packs in a step larger"
                )
            candidate = look_ahead.head
            if candidate.length > free or self._priority(task, candidate) < 0:
                most = 2 * self.deficits[task] * (self.tokens_per_sample or 1)
                candidate = (look_ahead.longest(min(free, most), 1) or look_ahead.candidates[:1])[0]
            self.add(task, candidate)
            capacity -= candidate.length
        return capacity

    def fill(self, capacity: int) -> None:
        """Add samples until none fits into what is left of `capacity`.

        A sample that fits is left out if its task is ahead of its quota by the overdraft, unless the pack is empty.
        """
        closing = int(capacity * CLOSING)
        while capacity and (tasks := self._eligible()):
            task = self.most_due(tasks)
            candidate = self.look_aheads[task].head
            if candidate.length != capacity and candidate.length > capacity - closing:
                may = [t for t in tasks if self.deficits[t] > -self.overdraft] if self.pack else tasks
                choices = [(t, c) for t in may for c in self.look_aheads[t].longest(capacity, CHOICES)]
                if not choices:
                    return
                task, candidate = max(choices, key=lambda c: self._priority(*c) + FILL_WEIGHT * c[1].length)
            self.add(task, candidate)
            capacity -= candidate.length

    def add_head(self) -> None:
        """Add one sample, the head of the task that is most due."""
        task = self.most_due(self._eligible())
        self.add(task, self.look_aheads[task].head)

    def most_due(self, tasks: Sequence[int]) -> int:
        """The task whose head has the highest priority; the first of equal ones."""
        best, highest = -1, -inf
        for task in tasks:
            priority = self._priority(task, self.look_aheads[task].head)
            if priority > highest:
                best, highest = task, priority
        return best

    def _eligible(self) -> list[int]:
        """The tasks with candidates and a share; if there are none, those with candidates alone."""
        filled = [t for t, look_ahead in enumerate(self.look_aheads) if look_ahead.candidates]
        return [t for t in filled if self.rates[t]] or filled

    def _priority(self, task: int, candidate: Candidate) -> float:
        """How much a candidate is due, in tokens: the mean of the task's deficit before and after adding it."""
        half = (1 - self.rates[task]) / 2  # adding one token lowers the task's deficit by 1 - rate
        if self.tokens_per_sample is None:
            return self.deficits[task] - half * candidate[0]
        return self.tokens_per_sample * (self.deficits[task] - half)

    def add(self, task: int, candidate: Candidate) -> None:
        """Put a sample into the pack, and move the deficits: every quota grows by its share of the sample."""
        self.pack.append(PackedSample(task, self.look_aheads[task].take(candidate), candidate.length))
        amount = candidate.length if self.tokens_per_sample is None else 1
        for other, rate in enumerate(self.rates):
            self.deficits[other] += rate * amount
        self.deficits[task] -= amount
