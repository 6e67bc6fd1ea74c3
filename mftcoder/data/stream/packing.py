"""One pack out of a bounded look-ahead into each task: full, and true to what is due to the tasks."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from mftcoder.core.errors import UserError
from mftcoder.data.stream.shuffle import Order

CLOSING = 0.06  # of the room: what may be left before the pack is closed with samples chosen to fit
CHOICES = 4  # samples of each task to choose from then
WASTE = 6  # tokens out of turn that a token of room is worth


class Drawn(NamedTuple):
    """A sample of a pack."""

    task: int
    row: int
    length: int


class Entry(NamedTuple):
    """A sample that may be drawn, ordered by length."""

    length: int
    position: int


NOTHING = Entry(0, -1)


class Window:
    """The samples of one task that may be drawn: the untaken among `look_ahead` positions from the oldest on.

    Its state is two integers: `cursor`, the oldest untaken position, and `taken`, one bit for each position from there.
    It ends at position `end`. entries: what may be drawn, by length. oldest: of these, what has waited longest.
    """

    __slots__ = ("cursor", "end", "entries", "look_ahead", "oldest", "order", "seen", "taken")

    def __init__(self, order: Order, look_ahead: int) -> None:
        self.order = order
        self.look_ahead = look_ahead
        self.place(0, 0, 0)

    def place(self, cursor: int, taken: int, end: int) -> None:
        """Look at what is untaken from `cursor` on."""
        self.cursor, self.taken, self.end = cursor, taken, end
        self.seen = cursor
        self.entries: list[Entry] = []
        self._look()

    def copy(self) -> Window:
        """Another window, in the same state."""
        other = Window.__new__(Window)
        other.order, other.look_ahead = self.order, self.look_ahead
        other.cursor, other.taken, other.end, other.seen = self.cursor, self.taken, self.end, self.seen
        other.entries, other.oldest = list(self.entries), self.oldest
        return other

    def _look(self) -> None:
        """See as far as may be seen."""
        furthest = min(self.cursor + self.look_ahead, self.end)
        for position in range(self.seen, furthest):
            if not self.taken >> (position - self.cursor) & 1:
                insort(self.entries, Entry(self.order.length(position), position))
        self.seen = max(self.seen, furthest)
        self.oldest = Entry(self.order.length(self.cursor), self.cursor) if self.entries else NOTHING

    def fitting(self, room: float, number: int) -> list[Entry]:
        """The `number` longest of at most `room` tokens."""
        stop = bisect_right(self.entries, (room, self.end))
        return self.entries[max(0, stop - number) : stop]

    def take(self, entry: Entry) -> int:
        """Take one out, and look that much further; its row."""
        del self.entries[bisect_right(self.entries, entry) - 1]
        self.taken |= 1 << (entry.position - self.cursor)
        if self.taken & 1:
            while self.taken & 1:
                self.taken >>= 1
                self.cursor += 1
            self._look()
        return self.order.row(entry.position)


class Packer:
    """Draws one pack. windows: of all tasks, which it takes from. lacks: [T] what each task has had too little of.

    rates: [T] shares. unit: None if shares are of tokens; if they are of samples, the mean tokens of a sample.
    slack: how much more than is due to it a task may have had for the sake of a full pack.
    """

    def __init__(
        self, windows: list[Window], lacks: Sequence[float], rates: Sequence[float], unit: float | None, slack: float
    ) -> None:
        self.windows = windows
        self.lacks = list(lacks)
        self.rates = rates
        self.unit = unit
        self.slack = slack
        self.pack: list[Drawn] = []

    def require(self, tasks: Sequence[int], room: int) -> int:
        """Draw a sample of each of `tasks`; the room that is left. Raises UserError where they do not fit."""
        for done, task in enumerate(tasks, start=1):
            window = self.windows[task]
            free = room - sum(self.windows[other].entries[0].length for other in tasks[done:])
            if window.entries[0].length > free:
                raise UserError(
                    "stratified: a step has no room for a sample of every task; "
                    "make data.seq_length or the number of packs in a step larger"
                )
            entry = window.oldest
            if entry.length > free or self._due(task, entry) < 0:
                lacking = 2 * self.lacks[task] * (self.unit or 1)
                entry = (window.fitting(min(free, lacking), 1) or window.entries[:1])[0]
            self.draw(task, entry)
            room -= entry.length
        return room

    def fill(self, room: int) -> None:
        """Draw until nothing fits into `room` tokens: whoever's turn it is, and at the end whatever fits best.

        What fits is left where its task has had too much already, however empty the pack is.
        """
        close = int(room * CLOSING)
        while room and (open_tasks := self._open()):
            task = self.turn(open_tasks)
            entry = self.windows[task].oldest
            if entry.length != room and entry.length > room - close:
                may = [t for t in open_tasks if self.lacks[t] > -self.slack] if self.pack else open_tasks
                choices = [(t, e) for t in may for e in self.windows[t].fitting(room, CHOICES)]
                if not choices:
                    return
                task, entry = max(choices, key=lambda choice: self._due(*choice) + WASTE * choice[1].length)
            self.draw(task, entry)
            room -= entry.length

    def one(self) -> None:
        """Draw the sample whose turn it is."""
        task = self.turn(self._open())
        self.draw(task, self.windows[task].oldest)

    def turn(self, open_tasks: Sequence[int]) -> int:
        """The task whose oldest sample is due most."""
        best, most = -1, -inf
        for task in open_tasks:
            due = self._due(task, self.windows[task].oldest)
            if due > most:
                best, most = task, due
        return best

    def _open(self) -> list[int]:
        """Tasks that may be drawn: those with a share, and the others only once nothing is left of these."""
        filled = [t for t, window in enumerate(self.windows) if window.entries]
        return [t for t in filled if self.rates[t]] or filled

    def _due(self, task: int, entry: Entry) -> float:
        """How much a sample is due, in tokens: 0 once half of it is."""
        half = (1 - self.rates[task]) / 2
        return self.lacks[task] - half * entry[0] if self.unit is None else self.unit * (self.lacks[task] - half)

    def draw(self, task: int, entry: Entry) -> None:
        """Put one sample into the pack."""
        self.pack.append(Drawn(task, self.windows[task].take(entry), entry.length))
        amount = entry.length if self.unit is None else 1
        for other, rate in enumerate(self.rates):
            self.lacks[other] += rate * amount
        self.lacks[task] -= amount
