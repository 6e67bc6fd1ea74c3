"""One pack after another out of a bounded look-ahead into each task, full and true to the shares."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence

from mftcoder.data.order import Order

Entry = tuple[int, int]  # length, position


class Window:
    """The samples of one task that may be drawn: the untaken among `look_ahead` positions from the oldest on.

    Its state is two integers: `cursor`, the oldest untaken position, and `taken`, one bit for each position after it.
    """

    def __init__(self, order: Order, look_ahead: int) -> None:
        self.order = order
        self.look_ahead = look_ahead
        self.place(0, 0, 0)

    def place(self, cursor: int, taken: int, end: int) -> None:
        """Look at what is untaken from `cursor` on, up to position `end`."""
        self.cursor, self.taken, self.end = cursor, taken, end
        self.seen = min(cursor + self.look_ahead, end)
        untaken = (p for p in range(cursor, self.seen) if not taken >> (p - cursor) & 1)
        self.entries: list[Entry] = sorted((self.order.length(p), p) for p in untaken)

    @property
    def oldest(self) -> Entry:
        """The sample that has waited longest."""
        return self.order.length(self.cursor), self.cursor

    def largest(self, room: int) -> Entry | None:
        """The longest sample of at most `room` tokens, of those the newest."""
        at = bisect_right(self.entries, (room, 1 << 62))
        return self.entries[at - 1] if at else None

    def take(self, entry: Entry) -> int:
        """Take one out and look that much further; its index."""
        del self.entries[bisect_right(self.entries, entry) - 1]
        index = self.order.index(entry[1])
        self.taken |= 1 << (entry[1] - self.cursor)
        while self.taken & 1:
            self.taken >>= 1
            self.cursor += 1
        for position in range(self.seen, min(self.cursor + self.look_ahead, self.end)):
            insort(self.entries, (self.order.length(position), position))
        self.seen = max(self.seen, min(self.cursor + self.look_ahead, self.end))
        return index


def fill(
    windows: Sequence[Window], deficits: list[float], shares: Sequence[float], room: int
) -> list[tuple[int, int, int]]:
    """Draw one pack of at most `room` tokens: (task, index, length) of each sample, in the order they were drawn.

    deficits: tokens that each task has had too few of; kept up to date. The task with the largest is drawn first.
    """
    pack: list[tuple[int, int, int]] = []
    while True:
        fitting = [t for t, w in enumerate(windows) if w.entries and w.entries[0][0] <= room]
        if not fitting:
            return pack
        task = max(fitting, key=lambda t: deficits[t])
        window = windows[task]
        entry = window.oldest
        if entry[0] > room:
            best = window.largest(room)
            assert best is not None
            entry = best
        length = entry[0]
        pack.append((task, window.take(entry), length))
        room -= length
        for t, share in enumerate(shares):
            deficits[t] += share * length
        deficits[task] -= length
