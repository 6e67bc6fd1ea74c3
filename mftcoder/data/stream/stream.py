"""The endless stream of packs, in which every task keeps its share of any 50 packs in a row."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mftcoder.core.errors import UserError
from mftcoder.data.corpus.tables import Split
from mftcoder.data.stream.packing import Drawn, Packer, Window
from mftcoder.data.stream.shares import Shares
from mftcoder.data.stream.shuffle import Order

SPAN = 50  # packs over which shares hold
STRAY = 0.009  # how far from its share a task may be over them; what is promised is 0.01
TRIES = 12  # packs drawn where the first strays too far; the best is kept


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a stream is made from: with the lengths of the samples it decides every pack.

    shares: what is due to each task. unit: None if that is in tokens; if in samples, the mean tokens of a sample.
    epoch: the total (tokens or samples) of one epoch. room: most tokens of a pack. alone: one sample a pack.
    look_ahead: how many samples of each task a pack may be chosen from.
    """

    shares: Shares
    unit: float | None
    epoch: float
    room: int
    alone: bool
    look_ahead: int
    seed: int


class Stream:
    """Draws one pack after another: a pure function of its recipe, the lengths in `split` and how many were drawn.

    An epoch takes from each task what is due to it by then (all of its samples once, where shares are natural), and
    ends with a pack of its own. Within it tasks are drawn by what they lack; a pack after which a task would have
    strayed from its share over the last SPAN packs is drawn again, with that task held back or brought forward.
    """

    def __init__(self, split: Split, recipe: Recipe) -> None:
        self.recipe = recipe
        self.unit = recipe.unit
        orders = [
            Order(split.lengths(task), seed=recipe.seed, task=task, by_tokens=self.unit is None)
            for task in range(split.num_tasks)
        ]
        self.windows = [Window(order, recipe.look_ahead) for order in orders]
        self.past: deque[list[int]] = deque([[0] * split.num_tasks], maxlen=SPAN)
        self.epoch = 0
        self._open_epoch()

    @property
    def drawn(self) -> list[int]:
        """[T] tokens (or samples) drawn so far."""
        return self.past[-1]

    @property
    def rates(self) -> list[float]:
        """[T] shares that hold now."""
        return self.recipe.shares.rates(sum(self.drawn))

    @property
    def finished(self) -> bool:
        """Whether this epoch has nothing left."""
        return not any(window.entries for window in self.windows)

    @property
    def over(self) -> bool:
        """Whether there is nothing left at all, because of limits to how often tasks may be repeated."""
        return self.finished and (self.epoch + 1) * self.recipe.epoch >= self.recipe.shares.end

    def next_epoch(self) -> None:
        """Begin the next epoch. Raises UserError if there is none."""
        if self.over:
            raise UserError("every task has been repeated as often as data.tasks.<task>.repeat allows")
        self.epoch += 1
        self._open_epoch()

    def _open_epoch(self) -> None:
        """Let the windows look as far as this epoch goes."""
        shares = self.recipe.shares
        due = shares.due(min((self.epoch + 1) * self.recipe.epoch, shares.end))
        for window, amount in zip(self.windows, due, strict=True):
            window.place(window.cursor, window.taken, max(window.cursor, window.order.position(amount)))

    def borrow(self, task: int) -> None:
        """Let a task that has nothing left in this epoch have a sample of the next."""
        window = self.windows[task]
        if not window.entries:
            window.place(window.cursor, window.taken, window.end + 1)

    def draw(self, first: Sequence[int] = ()) -> list[Drawn]:
        """The next pack, with a sample of each of the tasks `first`. It must not be finished."""
        assert not self.finished
        lacks = self._lacks(self.drawn)
        attempts: list[tuple[float, Packer]] = []
        for _ in range(1 if self.recipe.alone else TRIES):
            packer = self._packed(lacks, first)
            strays = self._strays(packer)
            attempts.append((max(map(abs, strays)), packer))
            if attempts[-1][0] <= STRAY:
                break
            half = SPAN * self.recipe.room / (self.unit or 1) / 2
            lacks = [lack + half * stray for lack, stray in zip(lacks, strays, strict=True)]
        _, best = min(attempts, key=lambda attempt: attempt[0])
        self.windows = best.windows
        self.past.append(self._after(best))
        return best.pack

    def _packed(self, lacks: list[float], first: Sequence[int]) -> Packer:
        """A pack drawn from copies of the windows."""
        slack = STRAY * SPAN * self.recipe.room / (self.unit or 1) / 2
        packer = Packer([window.copy() for window in self.windows], lacks, self.rates, self.unit, slack)
        room = packer.require(first, self.recipe.room)
        if not self.recipe.alone:
            packer.fill(room)
        elif not packer.pack:
            packer.one()
        return packer

    def _after(self, packer: Packer) -> list[int]:
        """[T] tokens (or samples) drawn with this pack."""
        drawn = list(self.drawn)
        for sample in packer.pack:
            drawn[sample.task] += sample.length if self.unit is None else 1
        return drawn

    def _lacks(self, drawn: list[int]) -> list[float]:
        """[T] how much less than is due to it each task has had."""
        due = self.recipe.shares.due(sum(drawn))
        return [d - had for d, had in zip(due, drawn, strict=True)]

    def _strays(self, packer: Packer) -> list[float]:
        """[T] by how much of the last SPAN packs, with this one, each task is below its share of them."""
        if len(self.past) < SPAN:
            return [0.0] * len(self.windows)
        before, after = self.past[0], self._after(packer)
        span = sum(after) - sum(before)
        return [(a - b) / span for a, b in zip(self._lacks(after), self._lacks(before), strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Integers: the epoch, each task's cursor and what is taken beyond it, what was drawn in the last packs."""
        return {
            "epoch": self.epoch,
            "cursors": [window.cursor for window in self.windows],
            "taken": [hex(window.taken) for window in self.windows],
            "past": [list(drawn) for drawn in self.past],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there, at once."""
        self.epoch = state["epoch"]
        self.past = deque((list(drawn) for drawn in state["past"]), maxlen=SPAN)
        for window, cursor, taken in zip(self.windows, state["cursors"], state["taken"], strict=True):
            window.cursor, window.taken = cursor, int(taken, 16)
        self._open_epoch()
