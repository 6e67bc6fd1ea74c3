"""The samples of one task that the packer may choose from: a bounded look-ahead into its shuffle."""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import NamedTuple

from mftcoder.data.stream.shuffle import Shuffle


class Candidate(NamedTuple):
    """A sample that may be chosen; candidates sort by length."""

    length: int
    position: int


NOBODY = Candidate(0, -1)


class LookAhead:
    """The samples not yet taken among the next `size` positions of a shuffle, counted from the head.

    Its whole state is two integers: `cursor`, the first position not taken, and `taken`, a bit mask whose bit i says
    whether position cursor + i was. So a sample is overtaken by at most size - 1 others of its task.

    Args:
        shuffle: the order of the task's samples.
        size: positions to look ahead.

    Attributes:
        end: the position at which the epoch ends for this task; nothing is chosen from there on.
        candidates: what may be chosen, sorted by length.
        head: the candidate at `cursor`, which has waited longest; of length 0 if there is none.
    """

    __slots__ = ("candidates", "cursor", "end", "head", "seen", "shuffle", "size", "taken")

    def __init__(self, shuffle: Shuffle, size: int) -> None:
        self.shuffle = shuffle
        self.size = size
        self.seek(0, 0, 0)

    def seek(self, cursor: int, taken: int, end: int) -> None:
        """Set the state, and find the candidates anew."""
        self.cursor, self.taken, self.end = cursor, taken, end
        self.seen = cursor
        self.candidates: list[Candidate] = []
        self._extend()

    def copy(self) -> LookAhead:
        """An independent look-ahead in the same state."""
        other = LookAhead.__new__(LookAhead)
        other.shuffle, other.size = self.shuffle, self.size
        other.cursor, other.taken, other.end, other.seen = self.cursor, self.taken, self.end, self.seen
        other.candidates, other.head = list(self.candidates), self.head
        return other

    def _extend(self) -> None:
        """Add the candidates that have come within reach of the cursor."""
        furthest = min(self.cursor + self.size, self.end)
        for position in range(self.seen, furthest):
            if not self.taken >> (position - self.cursor) & 1:
                insort(self.candidates, Candidate(self.shuffle.length(position), position))
        self.seen = max(self.seen, furthest)
        self.head = Candidate(self.shuffle.length(self.cursor), self.cursor) if self.candidates else NOBODY

    def longest(self, capacity: float, number: int) -> list[Candidate]:
        """The `number` longest candidates of at most `capacity` tokens, in rising order."""
        stop = bisect_right(self.candidates, (capacity, self.end))
        return self.candidates[max(0, stop - number) : stop]

    def take(self, candidate: Candidate) -> int:
        """Take a candidate, move the cursor past what is taken, and return the candidate's row."""
        del self.candidates[bisect_right(self.candidates, candidate) - 1]
        self.taken |= 1 << (candidate.position - self.cursor)
        if self.taken & 1:
            while self.taken & 1:
                self.taken >>= 1
                self.cursor += 1
            self._extend()
        return self.shuffle.row(candidate.position)
